"""`schedules`: tasks that are created at set times."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import typer

from .client import connect
from .inputs import read_input
from .options import DEFAULT_STATE, AsJson, OnMarket, State, Url, refuse_before
from .show import local, note, show_json, table

Name = Annotated[str, typer.Argument(metavar="NAME", help="The schedule's name.")]
Agent = Annotated[str, typer.Argument(metavar="AGENT", help="The agent's name.")]
Input = Annotated[str, typer.Argument(metavar="INPUT", help="JSON, @FILE, or - for stdin.")]
Cron = Annotated[str, typer.Option(metavar="LINE", help="Minute, hour, day, month, day of the week: '30 7 * * 1-5'.")]
Zone = Annotated[str, typer.Option(help="Whose clocks: Europe/Berlin, …")]
Overlap = Annotated[str, typer.Option(help="What if its last task has not ended: skip, queue_one, allow or cancel.")]
CatchUp = Annotated[str, typer.Option(help="Which of the times that were missed it makes up for: none, one or all.")]
Paused = Annotated[bool | None, typer.Option(help="By default as it was.", show_default=False)]
Priority = Annotated[int, typer.Option(min=-100, max=100, help="Higher goes first.")]
Tags = Annotated[list[str], typer.Option("--tag", help="A tag to find its tasks by; may be repeated.")]
Timeout = Annotated[float | None, typer.Option(metavar="SECONDS", help="Running time of one attempt.")]
MaxAttempts = Annotated[int | None, typer.Option(min=1, max=100, help="How often a task is tried.")]
LimitKey = Annotated[str | None, typer.Option(metavar="KEY", help="Whose limits its tasks count against.")]

schedules = typer.Typer(
    invoke_without_command=True,
    help="List schedules, or put, show, pause, resume, run or delete one.",
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@schedules.callback()
def listed(context: typer.Context, json: AsJson = False, url: Url = "", state: State = DEFAULT_STATE) -> None:
    """List schedules, or put, show, pause, resume, run or delete one."""
    if context.invoked_subcommand is not None:
        refuse_before(context, "json", "url", "state")
        return
    found = connect(url, state).all("/v1/schedules")
    if json:
        show_json(found, compact=True)
    else:
        table(["NAME", "AGENT", "CRON", "ZONE", "NEXT", "LAST"], [_row(schedule) for schedule in found])


@schedules.command()
def put(
    name: Name,
    agent: Agent,
    input: Input,
    cron: Cron,
    zone: Zone = "UTC",
    overlap: Overlap = "skip",
    catch_up: CatchUp = "one",
    paused: Paused = None,
    priority: Priority = 0,
    tag: Tags = [],  # noqa: B006 - Typer copies it
    timeout: Timeout = None,
    max_attempts: MaxAttempts = None,
    limit_key: LimitKey = None,
    market: OnMarket = None,
    json: AsJson = False,
    url: Url = "",
    state: State = DEFAULT_STATE,
) -> None:
    """Create the schedule NAME, which submits INPUT to AGENT at each time of --cron; or replace it."""
    asked = {"timeout": timeout, "max_attempts": max_attempts, "limit_key": limit_key, "market": market}
    options = {"priority": priority, "tags": tag} | {key: value for key, value in asked.items() if value is not None}
    times = {"cron": cron, "zone": zone, "overlap": overlap, "catch_up": catch_up, "paused": paused}
    body = {"agent": agent, "input": read_input(input), **times, "options": options}
    _tell(connect(url, state).ask("PUT", _path(name), json=body), json)


@schedules.command()
def show(name: Name, json: AsJson = False, url: Url = "", state: State = DEFAULT_STATE) -> None:
    """Print all there is to know of a schedule."""
    show_json(connect(url, state).ask("GET", _path(name)), compact=json)


@schedules.command()
def pause(name: Name, json: AsJson = False, url: Url = "", state: State = DEFAULT_STATE) -> None:
    """Let a schedule create no more tasks."""
    _tell(connect(url, state).ask("POST", f"{_path(name)}/pause"), json)


@schedules.command()
def resume(name: Name, json: AsJson = False, url: Url = "", state: State = DEFAULT_STATE) -> None:
    """Let a paused schedule go on, and make up for what it missed as its --catch-up says."""
    _tell(connect(url, state).ask("POST", f"{_path(name)}/resume"), json)


@schedules.command()
def run(name: Name, json: AsJson = False, url: Url = "", state: State = DEFAULT_STATE) -> None:
    """Create a task of a schedule now, and print its id."""
    task = connect(url, state).ask("POST", f"{_path(name)}/run")
    if json:
        show_json(task, compact=True)
    else:
        typer.echo(task["id"])
        note(f"accepted; follow it with ./rubato watch {task['id']}")


@schedules.command()
def delete(name: Name, url: Url = "", state: State = DEFAULT_STATE) -> None:
    """Delete a schedule. The tasks that it created go on."""
    connect(url, state).ask("DELETE", _path(name))
    note(f"{name} is deleted")


def _tell(schedule: dict[str, Any], json: bool) -> None:
    if json:
        show_json(schedule, compact=True)
    elif schedule["paused"]:
        note(f"{schedule['name']} is paused")
    elif schedule["next_at"] is None:
        note(f"{schedule['name']} has no more times")
    else:
        note(f"{schedule['name']} is next at {', then '.join(local(at) for at in schedule['next'][:3])}")


def _row(schedule: dict[str, Any]) -> list[str]:
    upcoming = "paused" if schedule["paused"] else local(schedule["next_at"])
    times = [schedule["cron"], schedule["zone"], upcoming, local(schedule["last_at"])]
    return [schedule["name"], schedule["agent"], *times]


def _path(name: str) -> str:
    return f"/v1/schedules/{quote(name, safe='')}"


def register(app: typer.Typer) -> None:
    app.add_typer(schedules, name="schedules")
