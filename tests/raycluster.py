"""A Ray cluster of one node for a test module: its own ports, folder and token, and nothing of it left afterwards."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import ray
from ray._private import ray_constants
from ray._private.authentication_test_utils import reset_auth_token_state

from cluster import processes, raylocal
from deployments.ingress import DRAIN, Ports, free_ports, haproxy, serve_env

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running cluster to which this process is connected; Serve listens on `http`."""

    id: str
    gcs: int
    http: int
    ports: Ports
    folder: Path
    dashboard: str = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http}"

    def processes(self) -> list[psutil.Process]:
        return processes.marked(self.id)


@contextlib.contextmanager
def ray_cluster(*, with_haproxy: bool = True, drain: float = DRAIN, dashboard: bool = False) -> Iterator[Cluster]:
    """Start Ray and Serve as `up` does and connect to them; end every process of theirs on the way out."""
    with tempfile.TemporaryDirectory(prefix="rubato-test-") as kept:
        gcs, http, stats, metrics, fallback, *agents, board = free_ports(10)
        id = secrets.token_hex(16)
        cluster = Cluster(id, gcs, http, Ports(stats, metrics, fallback), raylocal.make_folder(id))
        cluster = replace(cluster, dashboard=f"http://127.0.0.1:{board}" if dashboard else "")
        token = Path(kept, "token")
        raylocal.make_token(token)
        serve = serve_env(cluster.folder / "h", cluster.ports, haproxy() if with_haproxy else None, drain=drain)
        env = raylocal.environment(cluster.id, token, serve, [ROOT])
        head = raylocal.LocalRay(
            cluster=id,
            folder=cluster.folder,
            port=gcs,
            agents=(agents[0], agents[1], agents[2], agents[3]),
            env=env,
            log=Path(kept, "ray.log"),
            dashboard=board if dashboard else 0,
        )
        before = dict(os.environ)
        try:
            speak_to(env)
            raylocal.wait(head, raylocal.start(head))
            raylocal.connect(head.address)
            from deployments.serving import start_serve  # Serve takes more than a second to load

            start_serve("127.0.0.1", http)
            yield cluster
        finally:
            ray.shutdown()
            raylocal.stop(cluster.id)
            os.environ.clear()
            speak_to(before)


def speak_to(env: Mapping[str, str]) -> None:
    """Ray reads these once, when it is imported; a test process that comes to several clusters reads them anew."""
    os.environ.update(env)
    reset_auth_token_state()
    ray_constants.ENABLE_RAY_CLUSTER = env.get(ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR) != "0"
