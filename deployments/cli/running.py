"""`run`: one answer while the caller waits."""

from __future__ import annotations

import sys
from typing import Annotated, Any
from urllib.parse import quote

import typer

from .client import Client, connect
from .errors import NotReachable
from .inputs import read_input
from .options import DEFAULT_STATE, AsJson, Session, State, Url
from .show import show_event, show_json

Agent = Annotated[str, typer.Argument(metavar="AGENT", help="The agent's name.")]
Input = Annotated[str, typer.Argument(metavar="INPUT", help="Its input: JSON, @FILE, or - for stdin.")]


def run(
    agent: Agent,
    input: Input,
    session: Session = None,
    json: AsJson = False,
    url: Url = "",
    state: State = DEFAULT_STATE,
) -> None:
    """Run AGENT on INPUT now and print its output as JSON; on a terminal its events are shown as they come."""
    body = read_input(input)
    client = connect(url, state)
    path = f"/v1/agents/{agent}/run" + ("" if session is None else f"?session={quote(session, safe='')}")
    if json or not sys.stderr.isatty():
        show_json(client.ask("POST", path, json=body), compact=json)
    else:
        show_json(_follow(client, path, body))


def _follow(client: Client, path: str, body: Any) -> Any:
    for event in client.stream("POST", path, json=body):
        show_event(event.data)
        if event.type == "output":
            return event.data["data"]["output"]
        if event.type in ("failed", "canceled"):
            raise typer.Exit(1)
    raise NotReachable("the stream ended before the output; run it again")


def register(app: typer.Typer) -> None:
    app.command()(run)
