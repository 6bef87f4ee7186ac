"""A Rubato of the benchmark's own: other ports and another state folder than yours, gone afterwards."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ECHO = "agents.library.echo:Echo"


@dataclass(frozen=True, slots=True)
class Local:
    """A running Rubato: where it answers, and its state folder."""

    url: str
    folder: Path


@contextmanager
def rubato(*agents: str) -> Iterator[Local]:
    """`./rubato up` with just these agents, and `down` at the end."""
    parent = ROOT / ".rubato"  # the same disk as a user's own
    parent.mkdir(mode=0o700, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=parent) as folder:
        port = free_port()
        env = {**os.environ, "RUBATO_STATE": folder}
        chosen = [flag for agent in agents or (ECHO,) for flag in ("--agents", agent)]
        _run(["up", "--only", *chosen, "--port", str(port)], env)
        try:
            yield Local(f"http://127.0.0.1:{port}", Path(folder))
        finally:
            _run(["down"], env)


def status(local: Local) -> dict[str, object]:
    """What `./rubato status --json` says."""
    done = _run(["status", "--json"], {**os.environ, "RUBATO_STATE": str(local.folder)})
    found: dict[str, object] = json.loads(done.stdout)
    return found


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _run(arguments: list[str], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "deployments.cli", *arguments]
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
    return done
