"""`job`: a JSONL of any size through the pool, driven by a Ray job, or by a process of this machine."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.job import options

from .client import KEY, connect, key_of
from .errors import CommandFailed, UsageProblem
from .options import DEFAULT_STATE, AsJson, State, Url, state_folder
from .progress import measuring
from .show import complain, note, show_json

if TYPE_CHECKING:
    from deployments.job.driving import Driver

Here = Annotated[bool, typer.Option("--here", help="Drive it from this machine, be there Ray jobs or not.")]
Detach = Annotated[bool, typer.Option("--detach", help="Submit the Ray job, and leave it to itself.")]
Said = Callable[[dict[str, Any]], None]


def job(
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
    here: Here = False,
    detach: Detach = False,
    json: AsJson = False,
    url: Url = "",
    state: State = DEFAULT_STATE,
) -> None:
    """Run AGENT on each line of IN.jsonl as durable tasks, and write what comes of them to OUT.jsonl; the same command
    goes on where an interrupted one ended."""
    places = ["--", agent, input, out]
    asked = options.Asked(
        order, window, strict, cancel_on_interrupt, priority, tag, timeout, max_attempts, limit_key, market
    )
    driver = _start(asked.arguments, places, url, state, here=here or bool(url), detach=detach)
    if detach:
        return
    from deployments.job.driving import follow

    with _audience(json) as said:
        code = asyncio.run(follow(driver, said, note))
    raise typer.Exit(code)


def _start(asked: list[str], places: list[str], url: str, state: Path, *, here: bool, detach: bool) -> Driver:
    from agents import RubatoError
    from deployments.job.driving import Here as Process
    from deployments.job.rayjob import NoJobs, submit

    folder, key = state_folder(state), key_of(os.environ)
    running = folder.running()
    if running is not None and not here:
        try:
            found = submit(running, folder, [*asked, *_reachable(places, ours=running.ours)], key)
            note(f"Ray job {found.id} drives it")
            return found
        except NoJobs as why:
            note(f"a process of this machine drives it, since there are no Ray jobs: {why}")
        except RubatoError as refused:
            raise CommandFailed(str(refused)) from None
    if detach:
        raise UsageProblem("--detach needs Ray jobs: a process of this machine ends with this command")
    where = connect(url, state).url
    env = {**os.environ, KEY: key, "RUBATO_URL": where}
    return Process([*asked, "--json", *_here(places)], env)


def _reachable(places: list[str], *, ours: bool) -> list[str]:
    """The same places where a Ray job finds them: that of a cluster runs on another machine, in another folder."""
    if ours:
        return _here(places)
    for place in places[2:]:
        if "://" not in place and not Path(place).is_absolute():
            raise UsageProblem(
                f"{place}: the driver runs on the cluster's head node: give a path of that machine from its root, or a "
                "URL, or drive it from here with --here"
            )
    return places


def _here(places: list[str]) -> list[str]:
    return [*places[:2], *(place if "://" in place else str(Path(place).absolute()) for place in places[2:])]


@contextmanager
def _audience(json: bool) -> Iterator[Said]:
    """Who is told what the driver says."""
    if json:
        yield lambda words: show_json(words, compact=True)
    elif sys.stderr.isatty():
        with measuring("lines") as measure:
            yield lambda words: _draw(words, measure)
    else:
        yield _lines()


def _draw(words: dict[str, Any], measure: Callable[[int, int, str], None]) -> None:
    if words["job"] == "progress":
        failed = f"{words['failed']:,} with an error, " if words["failed"] else ""
        measure(words["completed"] + words["failed"], words["lines"], f"{failed}{words['in_flight']:,} in flight")
    else:
        _tell(words)


def _lines() -> Said:
    from deployments.job.progress import People, Progress

    people = People()

    def said(words: dict[str, Any]) -> None:
        if words["job"] == "progress":
            people.progress(Progress(**{name: words[name] for name in Progress.__slots__}))
        else:
            _tell(words)

    return said


def _tell(words: dict[str, Any]) -> None:
    (complain if words.get("end") in ("failed", "stopped") else note)(words["text"])


def register(app: typer.Typer) -> None:
    app.command()(job)
