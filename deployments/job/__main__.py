"""`python -m deployments.job`: the driver of a job, as `./rubato job` and `ray job submit` run it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from ..state import ROOT
from . import options
from .drive import Wanted, drive
from .errors import JobStopped
from .finding import find_key, find_url
from .progress import People, Programs, Progress

Url = Annotated[str, typer.Option("--url", envvar="RUBATO_URL", help="Where Rubato answers.")]
State = Annotated[Path, typer.Option("--state", envvar="RUBATO_STATE", help="The state folder.")]
Json = Annotated[bool, typer.Option("--json", help="Say how far it is in JSON, for programs.")]
KeyOnce = Annotated[Path | None, typer.Option(hidden=True, help="A file with the key, which is removed.")]


def run(
    agent: options.Agent,
    input: options.In,
    out: options.Out,
    order: options.Ordered = options.Order.INPUT,
    window: options.Window = options.WINDOW,
    strict: options.Strict = False,
    cancel_on_interrupt: options.CancelOnInterrupt = False,
    priority: options.Priority = 0,
    tag: options.Tags = [],  # noqa: B006 - Typer copies it
    timeout: options.Timeout = None,
    max_attempts: options.MaxAttempts = None,
    limit_key: options.LimitKey = None,
    market: options.Market = None,
    json: Json = False,
    url: Url = "",
    state: State = ROOT / ".rubato",
    key_once: KeyOnce = None,
) -> None:
    """Run AGENT on each line of IN.jsonl, and write what comes of it to OUT.jsonl."""
    asked = options.Asked(
        order, window, strict, cancel_on_interrupt, priority, tag, timeout, max_attempts, limit_key, market
    )
    wanted = Wanted(agent, input, out, order.value, asked.of_tasks, window, strict, cancel_on_interrupt)
    listener = Programs() if json else People()
    try:
        key = find_key(os.environ, key_once)
        sys.exit(drive(wanted, find_url(url, state, os.environ), key, listener))
    except JobStopped as stopped:
        listener.ended("stopped", stopped.code, Progress(0, 0, 0, 0, 0.0), str(stopped))
        sys.exit(stopped.code)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    typer.run(run)
