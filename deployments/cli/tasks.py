"""`tasks`, `watch`, `logs`, `cancel`, `retry`: what has become of submitted work."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any

import typer

from .client import Client, SentEvent, connect
from .errors import NotReachable, ProblemAnswer
from .options import DEFAULT_STATE, AsJson, Session, State, Url
from .show import note, show_event, show_json, table
from .waiting import sentence

TaskId = Annotated[str, typer.Argument(metavar="ID", help="The task's id.")]
PATIENCE = 30.0  # seconds a broken stream is tried again
ENDS = ("output", "failed", "canceled")

Agent = Annotated[str | None, typer.Option(help="Only of this agent.")]
InState = Annotated[str | None, typer.Option("--in", metavar="STATE", help="Only those queued, running, …")]
Tag = Annotated[str | None, typer.Option(help="Only with this tag.")]
Batch = Annotated[str | None, typer.Option(help="Only of this batch.")]
Limit = Annotated[int, typer.Option(min=1, max=200, help="At most so many.")]


def tasks(
    agent: Agent = None,
    in_state: InState = None,
    tag: Tag = None,
    batch: Batch = None,
    session: Session = None,
    limit: Limit = 20,
    json: AsJson = False,
    url: Url = "",
    state: State = DEFAULT_STATE,
) -> None:
    """List tasks, newest first."""
    wanted = {"agent": agent, "state": in_state, "tag": tag, "batch_id": batch, "session": session, "limit": limit}
    params = {name: value for name, value in wanted.items() if value is not None}
    page = connect(url, state).ask("GET", "/v1/tasks", params=params)
    if json:
        show_json(page, compact=True)
        return
    table(["ID", "AGENT", "STATE", "ATTEMPTS", "CREATED", "TOOK"], [_row(task) for task in page["items"]])
    if page.get("next_cursor"):
        note("there are more; --limit shows up to 200")


def watch(id: TaskId, json: AsJson = False, url: Url = "", state: State = DEFAULT_STATE) -> None:
    """Follow a task's events until it ends, and print its output; say first why it does not run yet."""
    client = connect(url, state)
    if not json:
        _tell_why(client.ask("GET", f"/v1/tasks/{id}"))
    for event in _followed(client, id):
        if json:
            show_json(event.data, compact=True)
        else:
            show_event(event.data)
        if event.type == "output" and not json:
            show_json(event.data["data"]["output"])
    if event.type != "output":
        raise typer.Exit(1)


def logs(id: TaskId, json: AsJson = False, url: Url = "", state: State = DEFAULT_STATE) -> None:
    """Print what a task's code logged."""
    for line in connect(url, state).lines(f"/v1/tasks/{id}/logs"):
        if json:
            show_json(line, compact=True)
        else:
            at = datetime.fromisoformat(line["at"]).astimezone()
            typer.echo(f"{at:%H:%M:%S.%f} {line['level']:7} {line['logger']}: {line['message']}")


def cancel(id: TaskId, json: AsJson = False, url: Url = "", state: State = DEFAULT_STATE) -> None:
    """Cancel a task: at once if it waits, as soon as its worker confirms if it runs."""
    task = connect(url, state).ask("POST", f"/v1/tasks/{id}/cancel")
    if json:
        show_json(task, compact=True)
    else:
        note(f"{task['id']} is {task['state']}" + ("" if task["ended_at"] else "; it was asked to stop"))


def retry(id: TaskId, json: AsJson = False, url: Url = "", state: State = DEFAULT_STATE) -> None:
    """Queue a task that failed or was canceled once more; what it has recorded does not run again."""
    task = connect(url, state).ask("POST", f"/v1/tasks/{id}/retry")
    if json:
        show_json(task, compact=True)
    else:
        note(f"{task['id']} is {task['state']}; follow it with ./rubato watch {task['id']}")


def _tell_why(task: dict[str, Any]) -> None:
    if task["waiting_on"]:
        note(f"{task['state']}: {sentence(task['waiting_on'])}")


def _followed(client: Client, id: str) -> Iterator[SentEvent]:
    """The events of a task to its end, each once; a stream that breaks is taken up where it broke.

    Of a task that was retried one end is not the last: the last is where the stream ends by itself.
    """
    seen, last, broken_since = "", "", None
    while True:
        headers = {"Last-Event-ID": seen} if seen else {}
        try:
            for event in client.stream("GET", f"/v1/tasks/{id}/events", headers=headers):
                if event.type == "restart":  # the gateway ends; another goes on where it was
                    break
                seen, last, broken_since = event.id or seen, event.type, None
                yield event
            if last in ENDS:
                return
        except NotReachable:
            broken_since = broken_since or time.monotonic()
            if time.monotonic() - broken_since > PATIENCE:
                raise
        except ProblemAnswer as answer:
            if answer.document.get("status") != 503:
                raise
        time.sleep(0.5)


def _row(task: dict[str, Any]) -> list[str]:
    created = datetime.fromisoformat(task["created_at"]).astimezone()
    return [
        task["id"],
        task["agent"],
        task["state"],
        str(task["attempts"]),
        f"{created:%Y-%m-%d %H:%M:%S}",
        _took(task),
    ]


def _took(task: dict[str, Any]) -> str:
    if not (task["started_at"] and task["ended_at"]):
        return ""
    took = datetime.fromisoformat(task["ended_at"]) - datetime.fromisoformat(task["started_at"])
    return f"{took.total_seconds():.2f} s"


def register(app: typer.Typer) -> None:
    for command in (tasks, watch, logs, cancel, retry):
        app.command()(command)
