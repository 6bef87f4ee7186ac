"""One machine of the cloud that tests rent from: a Ray node, and what `ray start --block` does for it; `python -m` runs
one.

SIGTERM is the notice that it will be taken away: Ray then marks the node as draining, and ends it when the notice is
over, or as soon as nothing runs there.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple, TextIO

from ray._private.parameter import RayParams

from cluster.head import Head
from deployments.ingress import free_ports

OBJECTS = 80 * 2**20  # bytes of shared memory: the least that Ray takes


class Wanted(NamedTuple):
    """What the machine has. A head has a `folder` in which Ray keeps its things, the port to listen on, and how the
    autoscaler is set up; any other joins the Ray at `gcs`. `turn` is a file: one machine at a time comes up."""

    resources: dict[str, float]
    labels: dict[str, str]
    turn: str
    gcs: str = ""
    folder: str = ""
    port: int = 0
    autoscaling: str = ""

    @property
    def ready(self) -> Path:
        """The file that is there once the head takes connections."""
        return Path(self.folder, "ready")


def launch(wanted: Wanted, id: str, kind: str, log: Path) -> subprocess.Popen[bytes]:
    """Start a machine in a session of its own, with what a cloud tells it of itself; returns at once."""
    told = {"RAY_CLOUD_INSTANCE_ID": id, "RAY_OVERRIDE_NODE_ID_FOR_TESTING": id, "RAY_NODE_TYPE_NAME": kind}
    command = [sys.executable, "-P", "-m", __name__, json.dumps(wanted)]
    with log.open("wb") as out:
        return subprocess.Popen(
            command, env={**os.environ, **told}, stdout=out, stderr=out, cwd="/", start_new_session=True
        )


def run(wanted: Wanted) -> None:
    """Start the node, and end with it: when one of its processes dies the others are of no use."""
    with Path(wanted.turn).open("a+") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)  # nodes of one session that start together give their sockets the same names
        node = Head(_params(wanted, _own_ports(turn)), head=not wanted.gcs, shutdown_at_exit=True, spawn_reaper=False)
    if not wanted.gcs:
        wanted.ready.touch()
    while not (dead := node.dead_processes()):
        time.sleep(0.1)
    sys.exit(f"ended: {', '.join(str(kind) for kind, _ in dead)}")


def _own_ports(turn: TextIO) -> list[int]:
    """Ports that no machine before was given: its agents may not listen yet, and a node ends with one that cannot."""
    turn.seek(0)
    given = set(map(int, turn.read().split()))
    while not given.isdisjoint(ports := free_ports(4)):
        continue
    print(*ports, file=turn, flush=True)
    return ports


def _params(wanted: Wanted, ports: list[int]) -> RayParams:
    listen, metrics, export, runtime_env = ports
    others = {name: value for name, value in wanted.resources.items() if name not in ("CPU", "GPU")}
    role = (
        {"gcs_address": wanted.gcs, "webui": ""}
        if wanted.gcs
        else {"gcs_server_port": wanted.port, "temp_dir": wanted.folder, "autoscaling_config": wanted.autoscaling}
    )
    return RayParams(
        num_cpus=wanted.resources.get("CPU", 0),
        num_gpus=wanted.resources.get("GPU", 0),
        resources=others,
        labels=wanted.labels,
        dashboard_agent_listen_port=listen,
        metrics_agent_port=metrics,
        metrics_export_port=export,
        runtime_env_agent_port=runtime_env,
        object_store_memory=OBJECTS,
        include_dashboard=False,
        include_log_monitor=False,
        **role,
    )


if __name__ == "__main__":
    run(Wanted(*json.loads(sys.argv[1])))
