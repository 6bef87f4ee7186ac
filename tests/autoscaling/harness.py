"""A Ray cluster whose nodes come and go by Ray's own autoscaler, on this machine: with its own ports, folder and token,
and nothing of it left afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import ray
from ray._raylet import GcsClient  # type: ignore[attr-defined]  # it is compiled, and has no types
from ray.core.generated.autoscaler_pb2 import DrainNodeReason

from cluster import processes, raylocal
from deployments.ingress import free_ports
from tests.raycluster import ROOT, speak_to

from .ground import HEAD_ID, HEAD_KIND, Ground, Machine
from .machine import Wanted, launch

PATIENCE = 60.0  # seconds for what the cluster is waited for
NOTICE = 10.0  # seconds between a machine's notice and its end, unless a test says otherwise
MARKET = "ray.io/market-type"


@dataclass(frozen=True, slots=True)
class Rented:
    """A kind of machine that the autoscaler may launch. `market`: as Ray names it, '' for no label."""

    name: str
    resources: dict[str, int]
    market: str = "on-demand"
    max_nodes: int = 2
    priority: int = 0
    idle_timeout: float = 3.0  # seconds

    def config(self) -> dict[str, object]:
        return {
            "resources": self.resources,
            "labels": {MARKET: self.market} if self.market else {},
            "node_config": {},
            "min_workers": 0,
            "max_workers": self.max_nodes,
            "priority": self.priority,
            "idle_timeout_s": self.idle_timeout,
        }


KINDS = (
    Rented("cpu", {"CPU": 2}),
    Rented("spot", {"CPU": 2}, market="spot", priority=10),
    Rented("gpu", {"CPU": 1, "GPU": 1}),
)


class Cluster:
    """The running cluster, to which this process is connected."""

    def __init__(self, id: str, address: str, ground: Ground) -> None:
        self.id = id
        self.address = address
        self._ground = ground

    # what the cloud has

    def refuse(self, kind: str, refused: bool = True) -> None:
        """Have every launch of this kind fail, or none any more."""
        self._ground.refuse(kind, refused)

    def hang(self, kind: str, hung: bool = True) -> None:
        """Have Ray not come up on machines of this kind that are launched from now on, or on all that wait for it."""
        self._ground.hang(kind, hung)

    def machines(self, kind: str | None = None) -> list[Machine]:
        """Those that were launched, and have not ended."""
        mine = [each for each in self._ground.machines() if kind in (None, each.kind)]
        return [each for each in mine if processes.mark_of(each.pid) == self.id]

    # what becomes of machines

    def reclaim(self, machine: Machine) -> None:
        """Give notice: Ray drains the node, and ends it when the notice is over, or when nothing runs there."""
        os.kill(machine.pid, signal.SIGTERM)

    def drain(self, machine: Machine, seconds: float) -> None:
        """Only say that it will be taken away then, as whoever rents it out does: Ray itself does not end it."""
        ends = int((time.time() + seconds) * 1000)
        preemption = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
        accepted, why_not = GcsClient(address=self.address).drain_node(machine.id, preemption, "taken away", ends)
        assert accepted, why_not

    def lose(self, machine: Machine) -> None:
        """Take it away without a word: all that runs there stands still, and is gone."""
        first = psutil.Process(machine.pid)
        family = [first, *first.children(recursive=True)]
        for act in (psutil.Process.suspend, psutil.Process.kill):
            for process in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    act(process)
        self.until(lambda: all(processes.mark_of(process.pid) != self.id for process in family))

    # what Ray has

    def nodes(self, kind: str | None = None) -> list[str]:
        """The ids of the nodes that Ray counts among its own, but for the head."""
        alive = [node for node in ray.nodes() if node["Alive"] and node["NodeID"] != HEAD_ID]
        return [str(node["NodeID"]) for node in alive if kind in (None, node["Labels"].get("ray.io/node-group"))]

    def until(self, condition: Callable[[], Any], patience: float = PATIENCE) -> Any:
        """What the condition gives, once that is true."""
        ends = time.monotonic() + patience
        while not (found := condition()):
            assert time.monotonic() < ends, self.told()
            time.sleep(0.05)
        return found

    def told(self) -> str:
        """What the machines said, for whoever looks into a failure."""
        logs = sorted((self._ground.folder / "logs").iterdir())
        return "\n".join([f"{log.name}: {log.read_text(errors='replace')[-2000:]}" for log in logs])


@contextlib.contextmanager
def autoscaled(kinds: Sequence[Rented] = KINDS, *, notice: float = NOTICE, **env: str) -> Iterator[Cluster]:
    """Start a head, and connect to it; end every process of the cluster on the way out. `env`: of all of them."""
    with tempfile.TemporaryDirectory(prefix="rubato-test-") as kept:
        id = secrets.token_hex(16)
        port, metrics = free_ports(2)
        ground = Ground(Path(kept, "ground"))
        ground.turn.write_text(f"{port} {metrics}\n")
        token = Path(kept, "token")
        raylocal.make_token(token)
        own = {**_settings(notice, metrics), **env}
        before, full = dict(os.environ), raylocal.environment(id, token, own, [ROOT])
        cluster = Cluster(id, f"127.0.0.1:{port}", ground)
        try:
            speak_to(full)
            _start_head(cluster, ground, port, kinds)
            raylocal.connect(cluster.address)
            yield cluster
        finally:
            ray.shutdown()
            raylocal.stop(id)
            os.environ.clear()
            speak_to(before)


def _settings(notice: float, metrics: int) -> dict[str, str]:
    return {
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "AUTOSCALER_METRIC_PORT": str(metrics),
        "RAY_enable_autoscaler_v2": "1",
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": f"{notice:g}",
    }


def _start_head(cluster: Cluster, ground: Ground, port: int, kinds: Sequence[Rented]) -> None:
    folder = raylocal.make_folder(cluster.id)
    config = ground.folder / "autoscaling.json"
    config.write_text(json.dumps(_config(cluster.address, ground.folder, kinds)))
    wanted = Wanted({}, {}, str(ground.turn), "", str(folder), port, str(config))
    head = launch(wanted, HEAD_ID, HEAD_KIND, ground.log(HEAD_KIND))

    def ready() -> bool:
        assert head.poll() is None, cluster.told()
        return wanted.ready.exists()

    cluster.until(ready)


def _config(address: str, ground: Path, kinds: Sequence[Rented]) -> dict[str, object]:
    """The autoscaler's file; what is empty must be there all the same."""
    head: dict[str, object] = {"resources": {}, "node_config": {}, "max_workers": 0}
    commands = ("initialization_commands", "setup_commands", "cluster_synced_files", "rsync_exclude", "rsync_filter")
    started = [f"{who}_{what}" for who in ("head", "worker") for what in ("setup_commands", "start_ray_commands")]
    return {
        "cluster_name": "rented",
        "max_workers": sum(kind.max_nodes for kind in kinds),
        "provider": {
            "type": "external",
            "module": "tests.autoscaling.provider.Cloud",
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
            "gcs_address": address,
            "ground": str(ground),
        },
        "head_node_type": HEAD_KIND,
        "available_node_types": {HEAD_KIND: head, **{kind.name: kind.config() for kind in kinds}},
        "upscaling_speed": 1.0,
        "idle_timeout_minutes": 0.1,
        "file_mounts_sync_continuously": False,
        **{name: {} for name in ("auth", "docker", "file_mounts")},
        **{name: [] for name in (*commands, *started)},
    }
