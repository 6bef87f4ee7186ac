"""A cluster that Serve's own configuration fills, as KubeRay makes one for a RayService: `python -m` runs one."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
END_SECONDS = 120.0


@contextmanager
def rayservice(settings: Path, store: str, agents: tuple[str, ...] = ()) -> Iterator[str]:
    """Where its gateway will answer; it is told of its applications when it has Serve. `agents` answer in real time."""
    state = settings.with_name(f"state-{time.monotonic_ns()}")
    env = {**os.environ, "RUBATO_STORE_URL": store, "RUBATO_STATE": str(state), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-P", "-m", "tests.faults.rayservices", str(settings), *agents]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=env, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            url = next((line for line in process.stdout if line.startswith("http://")), "")
            assert url, "it did not start"
            yield url.strip()
        finally:
            process.communicate(timeout=END_SECONDS)  # the end of its input is the end of it


def run(settings: str, agents: list[str]) -> None:
    """Returns when the input ends, and nothing of it runs any more."""
    from ray.serve.context import _get_global_client
    from ray.serve.schema import ServeDeploySchema

    from tests.raycluster import ray_cluster

    with ray_cluster() as cluster:
        _get_global_client().deploy_apps(ServeDeploySchema.model_validate(configuration(settings, agents)))
        sys.stdout.write(f"{cluster.url}\n")
        sys.stdout.flush()
        sys.stdin.read()


def configuration(settings: str, agents: list[str]) -> dict[str, object]:
    """What a serveConfigV2 says."""
    build = "deployments.rayservice"
    gateway = {
        "name": "gateway",
        "route_prefix": "/",
        "import_path": f"{build}:gateway",
        "args": {"settings": settings},
    }
    replicas = [
        {
            "name": f"agent-{name}",
            "route_prefix": f"/v1/agents/{name}",
            "import_path": f"{build}:agent",
            "args": {"settings": settings, "name": name},
        }
        for name in agents
    ]
    return {"applications": [gateway, *replicas]}


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2:])
