"""`up` on a cluster that somebody else runs."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
import ray
from ray import serve
from ray.util.state import list_actors

from cluster import raylocal
from cluster.raylocal import RayProblem
from tests.e2e.commands import House, house
from tests.e2e.userpackage import make_package
from tests.raycluster import Cluster, ray_cluster

FIRST, SECOND = "hush-6f1c2b9e", "hush-d84a7730"  # values of a secret
KEY = b"CLUSTER_METADATA"  # of what Ray keeps of its cluster

pytestmark = [pytest.mark.ray, pytest.mark.long, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with ray_cluster(dashboard=True) as made:
        yield made


def joining(folder: Path, **env: str) -> contextlib.AbstractContextManager[House]:
    """A house on the cluster, with what it needs to be let in."""
    auth = {name: os.environ[name] for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH")}
    return house(folder, RAY_ADDRESS=ray.get_runtime_context().gcs_address, **auth | env)


class Neighbour:
    """An actor of somebody else."""

    def lives(self) -> bool:
        return True


class Site:
    """An application of somebody else."""

    def __call__(self) -> str:
        return "here"


def test_up_joins_a_cluster_and_down_takes_nothing_but_its_own_off_it(cluster: Cluster, tmp_path: Path) -> None:
    neighbour = ray.remote(Neighbour).options(num_cpus=0, name="neighbour", namespace="other").remote()
    serve.run(serve.deployment(Site, ray_actor_options={"num_cpus": 0}).bind(), name="site", route_prefix="/site")
    with joining(tmp_path) as made:
        up = made.up()
        assert up.returncode == 0, up.stderr
        assert f"http://127.0.0.1:{cluster.http}" in up.stderr
        assert made.json("run", "echo", '{"text": "now"}') == {"text": "now"}
        done = made.json("submit", "echo", '{"text": "later"}', "--wait")["task"]
        status = made.json("status")
        with pytest.raises(RayProblem, match="not the head node"):
            raylocal.check_is_head("of another node")
        second = made.up()
        both = ("--only", "--agents", "agents.library.echo:Echo", "--agents", "benchmarks.agents:Steps")
        deployed = made.json("deploy", *both)
        steps = made.json("submit", "steps", '{"text": "later"}', "--wait")["task"]

        made.run("down")

    names = [actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True)]
    assert done["output"] == {"text": "later"}
    assert (status["up"], status["agents"]["echo"]["replicas"]) == (True, 1)
    assert "already up" in second.stderr
    assert (deployed["changes"], steps["state"]) == (["+ steps"], "completed")
    assert [name for name in names if name in ("ledger-0", "pool") or name.startswith("worker:")] == []
    assert ray.get(neighbour.lives.remote())
    assert set(serve.status().applications) == {"site"}


def test_a_package_its_needs_its_environment_and_its_secrets_come_to_both_tempos(
    cluster: Cluster, tmp_path: Path
) -> None:
    package = make_package(tmp_path / "theirs")
    with joining(tmp_path, SHOP_KEY=FIRST) as made:
        up = made.end("up", *package.settings)
        assert up.returncode == 0, up.stderr
        before = answers(made)
        shown = seen(cluster, made.state)

        package.greet("good day")
        made.env["SHOP_KEY"] = SECOND
        lines = made.run("deploy", "--dry-run", *package.settings).splitlines()
        deployed = made.json("deploy", *package.settings)
        after = answers(made)
        again = made.json("deploy", *package.settings)
        shown += seen(cluster, made.state)
        made.run("down")

    assert before == [["hello", "Ulm", "a wheel turns", "1.5", sha256(FIRST.encode()).hexdigest()]] * 2
    assert after == [["good day", "Ulm", "a wheel turns", "1.5", sha256(SECOND.encode()).hexdigest()]] * 2
    assert lines == ["~ shop (the code is another)", "runtime.secrets: SHOP_KEY has another value"]
    assert (deployed["changes"], again["changes"]) == (lines, [])
    assert "SHOP_TOWN" in shown, "what is plain is where we look"
    for secret in (FIRST, SECOND):
        assert secret not in shown


def answers(made: House) -> list[list[str]]:
    """What the shop says at once, and as a task."""
    later = made.json("submit", "shop", '"later"', "--wait")["task"]["output"]
    return [made.json("run", "shop", '"now"'), later]


def seen(cluster: Cluster, state: Path) -> str:
    """All that Ray shows of its actors and keeps for itself, what it logs, and what we keep."""
    listed = list_actors(address=cluster.dashboard, detail=True, limit=1000)
    keys = ray.experimental.internal_kv._internal_kv_list(b"")
    kept = [ray.experimental.internal_kv._internal_kv_get(key) or b"" for key in keys]
    files = [path for folder in (cluster.folder, state) for path in folder.rglob("*") if path.is_file()]
    return repr(listed) + repr(kept) + "".join(path.read_bytes().decode(errors="replace") for path in files)


def test_a_cluster_that_cannot_be_joined_is_told_in_a_line(cluster: Cluster, tmp_path: Path) -> None:
    own = {name: os.environ[name] for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH")}
    own["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address
    kept = ray.experimental.internal_kv._internal_kv_get(KEY, namespace="cluster")

    for wrong, says in (
        ({"RAY_AUTH_MODE": "disabled"}, "asks for the token of its cluster"),
        ({"RAY_AUTH_TOKEN": "0" * 64}, "asks for the token of its cluster"),
    ):
        assert refusal(tmp_path, own | wrong).count(says) == 1
    for told, says in (({"ray_version": "2.9.3"}, "Ray 2.9.3"), ({"python_version": "3.8.1"}, "Python 3.8.1")):
        ray.experimental.internal_kv._internal_kv_put(KEY, json.dumps(told), namespace="cluster")
        assert says in refusal(tmp_path, own)
    ray.experimental.internal_kv._internal_kv_put(KEY, kept, namespace="cluster")
    assert cluster.processes()


def test_what_the_environment_has_not_is_refused_before_anything_starts(cluster: Cluster, tmp_path: Path) -> None:
    package = make_package(tmp_path / "theirs")
    with joining(tmp_path) as made:
        ended = made.end("up", *package.settings)

    assert ended.returncode == 1
    assert "..." not in ended.stderr, "no phase had begun"
    assert ended.stderr.splitlines()[-1].startswith("[runtime] secrets names SHOP_KEY, and ")
    assert cluster.processes()


def refusal(folder: Path, env: dict[str, str]) -> str:
    """The one line that `up` says where it cannot join."""
    with house(folder, **env) as made:
        ended = made.up()
    assert ended.returncode == 1
    lines = [line for line in ended.stderr.splitlines() if "RAY_ADDRESS" in line]
    assert len(lines) == 1, ended.stderr
    return lines[0]
