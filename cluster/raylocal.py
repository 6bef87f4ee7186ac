"""Ray on this machine: started for one Rubato alone and reachable from here only; or joined where one runs already."""

from __future__ import annotations

import json
import os
import platform
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agents import RubatoError

from .processes import MARK, end

START_SECONDS = 60.0
LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # at 0, as always on those systems, Ray listens on loopback only
FOLDERS = Path("/tmp")  # not $TMPDIR: the sockets in it may have only short paths

EXCLUDES = [".venv", ".git", ".rubato", ".mypy_cache", ".ruff_cache", ".pytest_cache", "/samples", "/tests"]
PASSED = ["__pycache__", "node_modules", ".git", ".venv", ".mypy_cache", ".ruff_cache", ".pytest_cache"]  # of a user's
KEYS = frozenset({"RUBATO_KEY", "RUBATO_ADMIN_KEY"})  # an agent's code is not to act as whoever started it


class RayProblem(RubatoError):
    """Ray could not be started or joined; the message says why."""


@dataclass(frozen=True, slots=True)
class LocalRay:
    """How a Ray of our own is started. `folder` is Ray's, made for this start; `env` is that of all its processes."""

    cluster: str
    folder: Path
    port: int
    agents: tuple[int, int, int, int]  # ports of Ray's own agents
    env: dict[str, str]
    log: Path
    dashboard: int = 0  # the port of Ray's dashboard, 0 for none

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


def make_folder(cluster: str) -> Path:
    """An empty folder for one start of Ray; what earlier starts left behind is removed."""
    remove_folders(cluster)
    return Path(tempfile.mkdtemp(prefix=_prefix(cluster), dir=FOLDERS))


def remove_folders(cluster: str) -> None:
    """Remove whatever Ray kept for this cluster."""
    for folder in FOLDERS.glob(f"{_prefix(cluster)}*"):
        if folder.stat(follow_symlinks=False).st_uid == os.getuid():
            shutil.rmtree(folder, ignore_errors=True)


def make_token(file: Path) -> None:
    """See that there is a secret which every process of the cluster must present."""
    if not file.exists():
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as out:
            out.write(secrets.token_hex(32))


def environment(
    cluster: str, token: Path, serve_env: Mapping[str, str], python_path: list[Path], without: Iterable[str] = ()
) -> dict[str, str]:
    """The environment of every process of a Ray of our own, and of whoever connects to it. What is named by `without`
    reaches those that need it in another way."""
    apart = KEYS.union(without)
    inherited = {name: os.environ[name] for name in os.environ if not name.startswith("RAY_") and name not in apart}
    return {
        **inherited,
        **serve_env,
        MARK: cluster,
        "SPT_NOENV": "1",  # else Ray's processes overwrite their environment, and the mark with it, by their title
        "PYTHONPATH": os.pathsep.join(map(str, python_path)),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        LOOPBACK: "0",
        "RAY_worker_niceness": "0",  # 15 otherwise, so that whatever else runs here comes before every answer of ours
        "RAY_enable_worker_prestart": "0",  # each idle worker would take a second of CPU, and we start none but actors
        "RAY_prestart_worker_first_driver": "0",
    }


def start(ray: LocalRay) -> subprocess.Popen[bytes]:
    """Start Ray in a session of its own; returns at once. Its first process ends when any of Ray's own does."""
    command = [sys.executable, "-P", "-m", "cluster.head"]
    command.append(json.dumps([str(ray.folder), ray.port, ray.agents, ray.dashboard]))
    with ray.log.open("wb") as log:
        return subprocess.Popen(
            command, env=ray.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True
        )


def wait(ray: LocalRay, process: subprocess.Popen[bytes]) -> None:
    """Returns when Ray takes connections. Raises RayProblem where it ends instead, or takes too long."""
    ends = time.monotonic() + START_SECONDS
    while not (ray.folder / "ready").exists():
        if process.poll() is not None:
            raise RayProblem(f"Ray ended while it started; its last words were: {_last_line(ray.log)}")
        if time.monotonic() > ends:
            raise RayProblem(f"Ray had not started after {START_SECONDS:.0f} s")
        time.sleep(0.05)


def adopt(env: Mapping[str, str]) -> None:
    """Let this process speak to a Ray that has this environment; before anything imports Ray, which reads it once."""
    os.environ.update({name: value for name, value in env.items() if name.startswith(("RAY_", "HAPROXY"))})


def connect(address: str) -> str:
    """Connect this process to a Ray that `start` started, and return the id of its node."""
    import ray

    from .remote import NAMESPACE

    ray.init(address, namespace=NAMESPACE, log_to_driver=False, logging_level="ERROR", configure_logging=False)
    return str(ray.get_runtime_context().get_node_id())


def upload(folders: Sequence[str]) -> list[str]:
    """Give the connected cluster these folders as they are now; each as a module for `py_modules`, named by its
    content. It is kept for ten minutes, and then as long as something there was started with it. Raises RayProblem.

    Only `ray.init` does this otherwise, and then the ledger and Serve would have to wait for a runtime of the agents'.
    """
    from ray._private.runtime_env.py_modules import upload_py_modules_if_needed
    from ray.exceptions import RayError

    asked = {"py_modules": list(folders), "excludes": PASSED}
    with tempfile.TemporaryDirectory() as scratch:
        try:
            found = upload_py_modules_if_needed(asked, include_gitignore=False, scratch_dir=scratch)
        except (RayError, ValueError) as error:
            raise RayProblem(f"what [runtime] names cannot be carried: {error}") from error
    return list(found["py_modules"])


def token() -> str:
    """What every process of the connected cluster presents to the others; '' where it asks for nothing."""
    from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]  # it is compiled, and has no types

    header: dict[str, str] = AuthenticationTokenLoader.instance().get_token_for_http_header()
    return header.get("authorization", "").removeprefix("Bearer ")


def join(address: str, root: Path, python_path: list[Path]) -> str:
    """Connect to a Ray that somebody else started and return the id of this node.

    Every worker there gets our code. Raises RayProblem with what to do instead.
    """
    if address.startswith("ray://"):
        raise RayProblem(
            f"RAY_ADDRESS={address} is a Ray Client address; run this on the head node, with its GCS address"
        )
    os.environ["RAY_AUTH_MODE"] = auth_mode(os.environ, Path.home())
    check_listens(address)
    check_admits(address)
    import ray

    from .remote import NAMESPACE

    runtime_env = {
        "working_dir": str(root),
        "excludes": EXCLUDES,
        "env_vars": {"PYTHONPATH": os.pathsep.join(map(str, python_path))},
    }
    try:
        ray.init(address, namespace=NAMESPACE, runtime_env=runtime_env, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise RayProblem(f"RAY_ADDRESS={address} cannot be joined: {error}") from error
    return str(ray.get_runtime_context().get_node_id())


def check_admits(address: str) -> None:
    """Raises RayProblem where the cluster there does not take our token, or runs on another Ray or Python: what Ray
    itself says of these comes late, and in many lines."""
    import ray
    from ray._common.usage.usage_constants import CLUSTER_METADATA_KEY
    from ray._raylet import GcsClient  # type: ignore[attr-defined]  # it is compiled, and has no types
    from ray.exceptions import AuthenticationError, RayError

    try:
        told = GcsClient(address=address).internal_kv_get(CLUSTER_METADATA_KEY, namespace=b"cluster", timeout=10)
    except AuthenticationError:
        raise RayProblem(
            f"RAY_ADDRESS={address} asks for the token of its cluster: name it in RAY_AUTH_TOKEN, or a file with it in"
            " RAY_AUTH_TOKEN_PATH, with RAY_AUTH_MODE=token"
        ) from None
    except RayError as error:
        raise RayProblem(f"RAY_ADDRESS={address} cannot be joined: {error}") from error
    theirs, ours = json.loads(told or "{}"), {"ray": ray.__version__, "python": platform.python_version()}
    for what, version in ours.items():
        other = theirs.get(f"{what}_version", version)
        if other != version:
            raise RayProblem(
                f"RAY_ADDRESS={address} runs on {what.capitalize()} {other}, and not on {version} as this does"
            )


def check_is_head(node: str) -> None:
    """Raises RayProblem where another node is the connected cluster's head."""
    import ray

    heads = [found["NodeID"] for found in ray.nodes() if "node:__internal_head__" in found["Resources"]]
    if node not in heads:
        raise RayProblem(
            "this is not the head node of the cluster, and the ledger's file must lie there: run this there, or name a"
            " PostgreSQL with --store postgresql://user:password@host/name"
        )


def disconnect() -> None:
    """Leave the cluster; safe to call when this process never joined it."""
    if "ray" in sys.modules:
        import ray

        ray.shutdown()


def session() -> Path:
    """Ray's own folder for the connected cluster, on any of its nodes."""
    import ray

    here = ray.get_runtime_context()
    return Path(here.get_temp_dir(), here.get_session_name())


def cpus() -> float:
    """How many CPUs the connected cluster has."""
    import ray

    return float(ray.cluster_resources().get("CPU", 1.0))


def actors() -> list[tuple[str, str]]:
    """Name and namespace of every named actor of the connected cluster."""
    import ray

    return [(actor["name"], actor["namespace"]) for actor in ray.util.list_named_actors(all_namespaces=True)]


def auth_mode(env: Mapping[str, str], home: Path) -> str:
    """How to speak to a cluster that we join: as the environment says, else with a token where there is one.

    Said explicitly because a Ray that is joined by its address would not look for the token by itself.
    """
    if "RAY_AUTH_MODE" in env:
        return env["RAY_AUTH_MODE"]
    known = "RAY_AUTH_TOKEN" in env or "RAY_AUTH_TOKEN_PATH" in env or (home / ".ray" / "auth_token").exists()
    return "token" if known else "disabled"


def stop(cluster: str) -> int:
    """End every process of a Ray that `start` started and remove its folder. Says how many there were."""
    ended = end(cluster)
    remove_folders(cluster)
    return ended


def check_listens(address: str) -> None:
    """See that something listens there: Ray itself would try for ten minutes. Raises RayProblem.

    For a loopback address Ray asks at this machine's own address instead, unless it is told not to.
    """
    host, _, port = address.rpartition(":")
    if not port.isdecimal():
        return  # such as `auto`
    if not _listens(host, int(port)):
        raise RayProblem(f"nothing listens at RAY_ADDRESS={address}; start Ray there, or unset it to start one here")
    if host in ("127.0.0.1", "localhost") and not _listens(_own_address(), int(port)):
        os.environ[LOOPBACK] = "0"


def _listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=3).close()
    except OSError:
        return False
    return True


def _own_address() -> str:
    """The address this machine has for others; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


def _prefix(cluster: str) -> str:
    return f"rubato-{cluster[:8]}-"


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "none"
