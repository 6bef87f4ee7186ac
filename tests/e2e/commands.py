"""./rubato as a user calls it: in a state folder of its own, ended whatever the test does."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from cluster import processes, raylocal
from deployments.ingress import free_ports
from deployments.state import StateFolder

ROOT = Path(__file__).resolve().parents[2]
RUBATO = ROOT / "rubato"
SECONDS = 240.0


@dataclass(frozen=True, slots=True)
class House:
    """One state folder and port, and the command line in them."""

    state: Path
    port: int
    env: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def run(self, *arguments: str, code: int = 0) -> str:
        """What the command printed on stdout, once it has ended with this exit code."""
        ended = self.end(*arguments)
        assert ended.returncode == code, f"{arguments} ended with {ended.returncode}:\n{ended.stdout}\n{ended.stderr}"
        return ended.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json"))

    def lines(self, *arguments: str) -> list[Any]:
        return [json.loads(line) for line in self.run(*arguments, "--json").splitlines()]

    def up(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`up` with the echo agent alone."""
        return self.end("up", "--only", "--agents", "agents.library.echo:Echo", "--port", str(self.port), *arguments)

    def end(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        with self.start(*arguments) as process:
            out, err = process.communicate(timeout=SECONDS)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """The command, running; in another folder than ours, as a user may be."""
        env = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "RUBATO_"))}
        env |= {"RUBATO_STATE": str(self.state), **self.env}
        pipe = subprocess.PIPE
        return subprocess.Popen([RUBATO, *arguments], cwd="/", env=env, stdout=pipe, stderr=pipe, text=True)

    def processes(self) -> list[psutil.Process]:
        """Everything that belongs to it."""
        id = StateFolder(self.state).id()
        return [] if id is None else processes.marked(id)


@contextmanager
def house(folder: Path, **env: str) -> Iterator[House]:
    """Nothing of it is left at the end."""
    (port,) = free_ports(1)
    made = House(folder / "state", port, env)
    try:
        yield made
    finally:
        id = StateFolder(made.state).id()
        if id is not None:
            raylocal.stop(id)
