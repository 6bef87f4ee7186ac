"""A Ray head node on this machine: what `ray start --head --block` runs, less what nobody here would use.

That command also starts a Ray Client server, an autoscaler and an API server: three Python processes that together take
as long to come up as all of Rubato, and none of which may be left out by its options.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from ray._private.node import Node
from ray._private.parameter import RayParams
from ray._raylet import DASHBOARD_AGENT_LISTEN_PORT_NAME, persist_port  # type: ignore[attr-defined]

OBJECTS = 256 * 2**20  # bytes of shared memory: what we send between actors is small
READY = "ready"  # the file, in the node's folder, that says that it takes connections


class Wanted(NamedTuple):
    """How the head is to be started; `dashboard` is its port, 0 for none.

    `agents` are the ports of Ray's own: the agent's HTTP, its gRPC, its metrics, and the runtime environment agent's.
    """

    folder: str
    port: int
    agents: tuple[int, int, int, int]
    dashboard: int = 0


class Head(Node):  # type: ignore[misc]
    """The node, with an API server only where its dashboard is wanted, and agents that nobody waits for."""

    def start_api_server(self, *, include_dashboard: bool | None, raise_on_failure: bool) -> None:
        if include_dashboard:
            super().start_api_server(include_dashboard=True, raise_on_failure=raise_on_failure)

    def start_raylet(self, *args: Any, **named: Any) -> None:
        # The raylet waits for the file in which its agent writes the port that it was given, and aborts after 15 s; on
        # a busy machine the agent takes longer. Ray hands it the other ports, but forgets this one.
        port = self._ray_params.dashboard_agent_listen_port
        persist_port(self.get_session_dir_path(), self.node_id, DASHBOARD_AGENT_LISTEN_PORT_NAME, port)
        super().start_raylet(*args, **named)


def run(wanted: Wanted) -> None:
    """Start the node, and end with it: when one of its processes dies the others are of no use."""
    listen, metrics, export, runtime_env = wanted.agents
    params: dict[str, Any] = {"dashboard_port": wanted.dashboard} if wanted.dashboard else {}
    node = Head(
        RayParams(
            gcs_server_port=wanted.port,
            dashboard_agent_listen_port=listen,
            metrics_agent_port=metrics,
            metrics_export_port=export,
            runtime_env_agent_port=runtime_env,
            temp_dir=wanted.folder,
            object_store_memory=OBJECTS,
            include_dashboard=bool(wanted.dashboard),
            dashboard_host="127.0.0.1",
            include_log_monitor=False,
            no_monitor=True,
            **params,
        ),
        head=True,
        shutdown_at_exit=True,
        spawn_reaper=False,
    )
    Path(wanted.folder, READY).touch()
    while not (dead := node.dead_processes()):
        time.sleep(0.5)
    sys.exit(f"ended: {', '.join(str(kind) for kind, _ in dead)}")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    run(Wanted(*json.loads(sys.argv[1])))
