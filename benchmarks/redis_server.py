"""A Redis that loses nothing it has confirmed: every write in its log, and the log on the disk before the answer."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from .local import free_port

PATIENCE = 10.0
LEFT_OUT = "Celery is left out: redis-server is not on PATH (Debian and Ubuntu: apt install redis-server)"


def installed() -> bool:
    """Whether there is one to start."""
    return shutil.which("redis-server") is not None


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """A server on loopback with its log in `folder`; yields its URL, and is ended by its own process."""
    port = free_port()
    options = {"port": str(port), "bind": "127.0.0.1", "dir": str(folder), "save": "", "daemonize": "no"}
    durable = {"appendonly": "yes", "appendfsync": "always"}
    command = ["redis-server", *(word for name, value in (options | durable).items() for word in (f"--{name}", value))]
    with (folder / "redis.log").open("wb") as log:
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        _until_durable(port, durable)
        yield f"redis://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def _until_durable(port: int, durable: dict[str, str]) -> None:
    """Wait for the server, and see that it does what it was told."""
    ends = time.monotonic() + PATIENCE
    client = redis.Redis(port=port)
    while True:
        try:
            found = {name: client.config_get(name) for name in durable}
            break
        except redis.ConnectionError:
            if time.monotonic() > ends:
                raise
            time.sleep(0.05)
    if found != {name: {name: value} for name, value in durable.items()}:
        raise RuntimeError(f"this Redis is not durable: {found}")
