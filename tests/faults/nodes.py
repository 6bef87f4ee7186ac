"""A further Ray node on this machine, which may lose its raylet, and is then started again: `python -m` runs one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import psutil
import ray
from ray._private.parameter import RayParams
from ray._raylet import GcsClient  # type: ignore[attr-defined]  # it is compiled, and has no types
from ray.core.generated.autoscaler_pb2 import DrainNodeReason
from ray.exceptions import TaskUnschedulableError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.head import Head
from deployments.ingress import free_ports
from tests.raycluster import Cluster

OBJECTS = 80 * 2**20  # bytes of shared memory: the least that Ray takes
START_SECONDS = 60.0


class Wanted(NamedTuple):
    """Which cluster the node joins, what it has, and the ports of Ray's own agents."""

    gcs: str
    gpus: int
    agents: tuple[int, int, int, int]


class SecondNode:
    """The node, with so many logical GPUs that nothing else in the cluster has."""

    def __init__(self, cluster: Cluster, gpus: int) -> None:
        self._cluster = cluster
        self._gpus = gpus
        self._before = set(self._ids())  # it was started
        self._log = cluster.folder / f"node-{len(self._before)}.log"
        self._process = self._start()
        self.id = ""  # as Ray has it, once Ray counts it

    def kill(self) -> None:
        """SIGKILL its raylet; what ran there ends by itself, as it does when nobody is there to end it."""
        for raylet in self._raylets():
            raylet.kill()
        self.stop()

    def restart(self) -> None:
        """Another node in its place, once Ray counts it; the one before may be counted for a while yet."""
        self._before = set(self._ids())
        self._process = self._start()
        self.until_counted()

    def until_counted(self) -> None:
        """Ray counts it among those it has."""
        ends = time.monotonic() + START_SECONDS
        while not (new := set(self._ids()) - self._before):
            assert self._process.poll() is None, self.log()
            assert time.monotonic() < ends, self.log()
            time.sleep(0.1)
        (self.id,) = new

    def log(self) -> str:
        """What was said while it started."""
        return self._log.read_text()

    def pause(self) -> list[psutil.Process]:
        """Have all that runs there stand still, as a machine does that is moved; whoever is to go on is resumed."""
        runner = psutil.Process(self._process.pid)
        family = [runner, *runner.children(recursive=True)]
        for process in family:
            process.suspend()
        return family

    def _ids(self) -> list[str]:
        return [str(node["NodeID"]) for node in ray.nodes() if node["Alive"] and "GPU" in node["Resources"]]

    def until_known(self) -> None:
        """Whoever places actors has it in its view, which comes to a node some time after the cluster counts it: until
        then Ray takes another for one that only prefers it."""
        ends = time.monotonic() + START_SECONDS
        there = NodeAffinitySchedulingStrategy(self.id, soft=False)
        while True:
            try:
                ray.get(_nothing.options(scheduling_strategy=there).remote(), timeout=START_SECONDS)
                return
            except TaskUnschedulableError:
                assert time.monotonic() < ends, self.log()
                time.sleep(0.1)

    def drain(self, seconds: float) -> None:
        """Say that it will be taken away then, as whoever rents it out does. Ray itself does not end it."""
        ends = int((time.time() + seconds) * 1000)
        ray_knows = GcsClient(address=f"127.0.0.1:{self._cluster.gcs}")
        preemption = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
        accepted, why_not = ray_knows.drain_node(self.id, preemption, "taken away", ends)
        assert accepted, why_not

    def stop(self) -> None:
        """End it at once; what ran there is left to whoever ends the cluster."""
        self._process.kill()
        self._process.wait(START_SECONDS)

    def _start(self) -> subprocess.Popen[bytes]:
        listen, metrics, export, runtime_env = free_ports(4)
        wanted = Wanted(f"127.0.0.1:{self._cluster.gcs}", self._gpus, (listen, metrics, export, runtime_env))
        with self._log.open("ab") as log:
            command = [sys.executable, "-P", "-m", __name__, json.dumps(wanted)]
            env = {**os.environ, **_own_ports()}
            return subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)

    def _raylets(self) -> list[psutil.Process]:
        return [each for each in psutil.Process(self._process.pid).children() if each.name() == "raylet"]


@ray.remote(num_cpus=0, max_retries=0)  # type: ignore[untyped-decorator]
def _nothing() -> None: ...


def _own_ports() -> dict[str, str]:
    """Where what Serve runs on this node listens: on another machine it could be the same as everywhere."""
    names = ("WORKER_PROXY_HTTP_PORT", "HAPROXY_STATS_PORT", "HAPROXY_METRICS_PORT")
    return {f"RAY_SERVE_{name}": str(port) for name, port in zip(names, free_ports(len(names)), strict=True)}


@contextmanager
def second_node(cluster: Cluster, gpus: int = 1) -> Iterator[SecondNode]:
    """The node, once Ray counts it."""
    node = SecondNode(cluster, gpus)
    try:
        node.until_counted()
        yield node
    finally:
        node.stop()


def run(wanted: Wanted) -> None:
    """Start the node, and end with it."""
    listen, metrics, export, runtime_env = wanted.agents
    node = Head(  # what makes a head of it is said below, and it has the same needs
        RayParams(
            gcs_address=wanted.gcs,
            num_cpus=0,
            num_gpus=wanted.gpus,
            dashboard_agent_listen_port=listen,
            metrics_agent_port=metrics,
            metrics_export_port=export,
            runtime_env_agent_port=runtime_env,
            object_store_memory=OBJECTS,
            include_log_monitor=False,
            webui="",
        ),
        head=False,
        shutdown_at_exit=True,
        spawn_reaper=False,
    )
    while not node.dead_processes():
        time.sleep(0.1)


if __name__ == "__main__":
    run(Wanted(*json.loads(sys.argv[1])))
