"""A Rubato of the benchmark's own: other ports and another state folder than yours, gone afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from deployments.ingress import free_ports

from .until import until

ROOT = Path(__file__).resolve().parent.parent
MB = 1024 * 1024
ECHO = "agents.library.echo:Echo"
STEPS = "benchmarks.agents:Steps"
HOLD = "benchmarks.agents:Hold"
PATIENCE = 60.0  # seconds for the workers that `up` does not wait for


@dataclass(frozen=True, slots=True)
class Local:
    """A running Rubato: where it answers, and its state folder."""

    url: str
    folder: Path


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder on the same disk as a user's own state."""
    parent = ROOT / ".rubato"
    parent.mkdir(mode=0o700, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=parent) as folder:
        yield Path(folder)


@contextmanager
def rubato(*agents: str, store: str = "") -> Iterator[Local]:
    """`./rubato up` with just these agents, all workers there; and `down` at the end."""
    with scratch() as folder:
        port = free_port()
        env = {**os.environ, "RUBATO_STATE": str(folder)}
        chosen = [flag for agent in agents or (ECHO,) for flag in ("--agents", agent)]
        kept = ["--store", store] if store else []
        _run(["up", "--only", *chosen, *kept, "--port", str(port)], env)
        try:
            local = Local(f"http://127.0.0.1:{port}", folder)
            _until_staffed(local)
            yield local
        finally:
            _run(["down"], env)


def status(local: Local) -> dict[str, Any]:
    """What `./rubato status --json` says."""
    done = _run(["status", "--json"], {**os.environ, "RUBATO_STATE": str(local.folder)})
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def memory_of(agent: str) -> float:
    """Bytes that belong to the one replica of an agent, and to no other process."""
    for process in psutil.process_iter():
        try:
            if f"ServeReplica:agent-{agent}:" in " ".join(process.cmdline()):
                return float(process.memory_full_info().uss)
        except psutil.Error:
            continue
    raise RuntimeError(f"there is no replica of {agent}")


def free_port() -> int:
    """A port that nobody listens on now, and that no outgoing connection will be given meanwhile."""
    (port,) = free_ports(1)
    return port


def _until_staffed(local: Local) -> None:
    def staffed() -> bool:
        return all(kind["ready"] == kind["wanted"] for kind in status(local)["workers"])

    until(staffed, "all workers are there", seconds=PATIENCE, poll=0.5)


def _run(arguments: list[str], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "deployments.cli", *arguments]
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
    return done
