"""`test`, `check`, `bench`: what someone who changes Rubato, or doubts it, runs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Annotated, NamedTuple

import typer

from deployments.state import ROOT

from .show import complain

FORWARD = {"allow_extra_args": True, "ignore_unknown_options": True}


class Gate(NamedTuple):
    """One thing that must hold."""

    name: str
    command: tuple[str, ...]  # arguments of Python


UNIT_TESTS = ("-m", "pytest", "-m", "not ray and not models and not postgres and not slow and not long")

# These folders have none of them, or one, and take seconds to load.
_ELSEWHERE = [f"--ignore=tests/{name}" for name in ("agents", "cluster", "e2e", "autoscaling", "k8s")]

# The slow ones first. One more runs at once than the least machine has cores: tests wait for a third of their time.
SIDE_BY_SIDE = 3
GATES = (
    Gate("unit tests of the rest", (*UNIT_TESTS, "tests", *_ELSEWHERE)),
    Gate("unit tests of cluster", (*UNIT_TESTS, "tests/cluster")),
    Gate("types", ("-m", "mypy")),
    Gate("unit tests of agents", (*UNIT_TESTS, "tests/agents")),
    Gate("imports", ("-c", "from importlinter.cli import lint_imports_command; lint_imports_command()")),
    Gate("lint", ("-m", "ruff", "check", "--quiet", ".")),
    Gate("format", ("-m", "ruff", "format", "--check", "--quiet", ".")),
)

# A file's tests share what it starts. Those with a Ray run one by one: it has processes enough for all cores.
TWO_BY_TWO = ("--numprocesses=2", "--dist=loadfile")

Long = Annotated[bool, typer.Option("--long", help="Instead those that take minutes: kills and load.")]


def test(context: typer.Context, long: Long = False) -> None:
    """Run the tests; further arguments go to pytest."""
    if long or context.args:
        _end(_python("pytest", "-m", "long" if long else "not long", *context.args))
    else:
        runs = [
            _python("pytest", "-m", "not long and not ray", *TWO_BY_TWO),
            _python("pytest", "-m", "not long and ray"),
        ]
        _end(max(runs))


def check() -> None:
    """The fast gate: format, lint, types, imports, and the unit tests that need neither Ray, models nor PostgreSQL."""
    failed = False
    with ThreadPoolExecutor(SIDE_BY_SIDE) as lanes:
        for done in as_completed([lanes.submit(_pass, gate) for gate in GATES]):
            failed |= not done.result()
    raise typer.Exit(1 if failed else 0)


def bench(context: typer.Context) -> None:
    """Measure, and print one JSON object; arguments go to the benchmarks."""
    _end(_python("benchmarks", *context.args))


def _pass(gate: Gate) -> bool:
    began = time.monotonic()
    run = subprocess.run(
        [sys.executable, "-P", *gate.command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    verdict = f"{gate.name}: {'ok' if run.returncode == 0 else 'failed'} ({time.monotonic() - began:.1f} s)"
    if run.returncode == 0:
        typer.echo(verdict)
    else:
        complain(verdict)
        typer.echo(run.stdout)
    return run.returncode == 0


def _python(module: str, *arguments: str) -> int:
    command = [sys.executable, "-P", "-m", module, *arguments]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONUNBUFFERED": "1"}).returncode


def _end(code: int) -> None:
    raise typer.Exit(0 if code == 0 else 1)


def register(app: typer.Typer) -> None:
    app.command(context_settings=FORWARD)(test)
    app.command()(check)
    app.command(context_settings=FORWARD)(bench)
