"""`submit`: durable tasks, one of an input or one for each file."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import typer

from .client import Client, connect
from .errors import UsageProblem
from .inputs import artifact_field, moment, read_input
from .options import DEFAULT_STATE, AsJson, OnMarket, Session, State, Url
from .progress import counting
from .show import note, show_json, show_problem

Agent = Annotated[str, typer.Argument(metavar="AGENT", help="The agent's name.")]
Inputs = Annotated[list[str], typer.Argument(metavar="INPUT|FILES", help="JSON, @FILE, or - for stdin.")]
Each = Annotated[bool, typer.Option("--each", help="One task for each of FILES, which fills the only Artifact field.")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for the end and print the output.")]
Priority = Annotated[int, typer.Option(min=-100, max=100, help="Higher goes first.")]
Tags = Annotated[list[str], typer.Option("--tag", help="A tag to find it by; may be repeated.")]
RunAt = Annotated[str | None, typer.Option(metavar="MOMENT", help="Not before then: 2030-01-31T08:00, or +10m.")]
Deadline = Annotated[str | None, typer.Option(metavar="MOMENT", help="What has not ended by then fails.")]
Timeout = Annotated[float | None, typer.Option(metavar="SECONDS", help="Running time of one attempt.")]
MaxAttempts = Annotated[int | None, typer.Option(min=1, max=100, help="How often it is tried.")]
LimitKey = Annotated[str | None, typer.Option(metavar="KEY", help="Whose limits it counts against.")]
Key = Annotated[str | None, typer.Option(metavar="KEY", help="Idempotency-Key: sent again with it, done once.")]


def submit(
    agent: Agent,
    inputs: Inputs,
    each: Each = False,
    wait: Wait = False,
    priority: Priority = 0,
    tag: Tags = [],  # noqa: B006 - Typer copies it
    run_at: RunAt = None,
    deadline: Deadline = None,
    timeout: Timeout = None,
    max_attempts: MaxAttempts = None,
    limit_key: LimitKey = None,
    market: OnMarket = None,
    session: Session = None,
    key: Key = None,
    json: AsJson = False,
    url: Url = "",
    state: State = DEFAULT_STATE,
) -> None:
    """Submit INPUT to AGENT as a durable task, or each of FILES as one."""
    asked = {
        "run_at": None if run_at is None else moment(run_at),
        "deadline": None if deadline is None else moment(deadline),
        "timeout": timeout,
        "max_attempts": max_attempts,
        "limit_key": limit_key,
        "market": market,
        "session": session,
    }
    options = {"priority": priority, "tags": tag} | {name: value for name, value in asked.items() if value is not None}
    headers = {} if key is None else {"Idempotency-Key": key}
    client = connect(url, state)
    if each:
        names = inputs
        ids = _submit_files(client, agent, [Path(name) for name in inputs], options, headers)
    elif len(inputs) == 1:
        names = [""]
        body = {"agent": agent, "input": read_input(inputs[0]), "options": options}
        ids = [client.ask("POST", "/v1/tasks", json=body, headers=headers)["id"]]
    else:
        raise UsageProblem("submit takes one INPUT; for one task per file add --each")
    if wait:
        _print_ends(client, names, ids, json)
    else:
        _print_ids(names, ids, json)


def _submit_files(
    client: Client, agent: str, files: list[Path], options: dict[str, Any], headers: dict[str, str]
) -> list[str]:
    field = artifact_field(agent, client.ask("GET", f"/v1/agents/{agent}")["input"])
    with counting("uploading", len(files)) as advance:
        inputs = []
        for file in files:
            inputs.append({field: client.upload(file)})
            advance(file.name)
    body = {"agent": agent, "inputs": inputs, "options": options}
    ids: list[str] = client.ask("POST", "/v1/tasks/batch", json=body, headers=headers)["task_ids"]
    return ids


def _print_ids(names: list[str], ids: list[str], json: bool) -> None:
    for name, id in zip(names, ids, strict=True):
        if json:
            show_json({"id": id, **({"file": name} if name else {})}, compact=True)
        else:
            typer.echo(f"{id}  {name}".rstrip())
    if not json and len(ids) == 1:
        note(f"accepted; follow it with ./rubato watch {ids[0]}")


def _print_ends(client: Client, names: list[str], ids: list[str], json: bool) -> None:
    tasks = list(_ends(client, names, ids))
    for name, task in zip(names, tasks, strict=True):
        if json:
            show_json({**({"file": name} if name else {}), "task": task}, compact=True)
            continue
        if name:
            typer.secho(f"{name}  {task['state']}", bold=True)
        if task["state"] == "completed":
            show_json(task["output"])
        else:
            show_problem(task["error"] or {"title": f"Task {task['id']} was {task['state']}"})
    if any(task["state"] != "completed" for task in tasks):
        raise typer.Exit(1)


def _ends(client: Client, names: list[str], ids: list[str]) -> Iterator[dict[str, Any]]:
    """The ended tasks in the order of `ids`; progress is shown in the order they end."""
    with counting("running", len(ids)) as advance, ThreadPoolExecutor(8) as pool:

        def wait_for(name: str, id: str) -> dict[str, Any]:
            task = client.ended(id)
            advance(f"{name or id} {task['state']}")
            return task

        yield from list(pool.map(wait_for, names, ids))


def register(app: typer.Typer) -> None:
    app.command()(submit)
