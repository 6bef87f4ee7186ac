"""`keys`: who may call, and how far."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from .client import connect
from .errors import UsageProblem
from .options import DEFAULT_STATE, AsJson, State, Url, refuse_before
from .show import local, note, show_json, table

DAY = 86400.0

Name = Annotated[str, typer.Argument(metavar="NAME", help="What you know the key by.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="The key's id.")]
Scopes = Annotated[
    list[str] | None,
    typer.Option("--scope", help="run, submit or admin; may be repeated. By default run and submit."),
]
Tenant = Annotated[str | None, typer.Option(help="Whose tasks it sees; by default those of the key you call with.")]
Days = Annotated[float | None, typer.Option(min=0, help="After so many it expires; by default it does not.")]
Rate = Annotated[
    str | None, typer.Option(metavar="COUNT/SECONDS", help="How often it may be used, as 100/60, in each process.")
]

keys = typer.Typer(
    invoke_without_command=True,
    help="List keys, or create or revoke one.",
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@keys.callback()
def listed(context: typer.Context, json: AsJson = False, url: Url = "", state: State = DEFAULT_STATE) -> None:
    """List keys, or create or revoke one."""
    if context.invoked_subcommand is not None:
        refuse_before(context, "json", "url", "state")
    else:
        _list(json, url, state)


@keys.command("list")
def list_(json: AsJson = False, url: Url = "", state: State = DEFAULT_STATE) -> None:
    """List keys, the newest first."""
    _list(json, url, state)


@keys.command()
def create(
    name: Name,
    scope: Scopes = None,
    tenant: Tenant = None,
    days: Days = None,
    rate: Rate = None,
    json: AsJson = False,
    url: Url = "",
    state: State = DEFAULT_STATE,
) -> None:
    """Create a key, and print it: it is shown now and never again."""
    expires_at = None if days is None else datetime.fromtimestamp(time.time() + days * DAY, UTC).isoformat()
    asked = {"tenant": tenant, "expires_at": expires_at, "rate": _rate(rate)}
    body = {"name": name, "scopes": scope or ["run", "submit"]}
    made = connect(url, state).ask("POST", "/v1/keys", json=body | {key: it for key, it in asked.items() if it})
    if json:
        show_json(made, compact=True)
    else:
        note(f"key {made['id']} may {' and '.join(made['scopes'])}; it is shown now and never again:")
        typer.echo(made["key"])


@keys.command()
def revoke(id: Id, json: AsJson = False, url: Url = "", state: State = DEFAULT_STATE) -> None:
    """Revoke a key: a few seconds later it lets nobody in."""
    revoked = connect(url, state).ask("DELETE", f"/v1/keys/{quote(id, safe='')}")
    if json:
        show_json(revoked, compact=True)
    else:
        note(f"{revoked['name']} ({revoked['id']}) is revoked; within 5 s it lets nobody in")


def _list(json: bool, url: str, state: Path) -> None:
    found = connect(url, state).all("/v1/keys")
    if json:
        show_json(found, compact=True)
    else:
        table(["ID", "NAME", "TENANT", "SCOPES", "CREATED", "STATE"], [_row(key) for key in found])


def _row(key: dict[str, Any]) -> list[str]:
    return [key["id"], key["name"], key["tenant"], ",".join(key["scopes"]), local(key["created_at"]), _state(key)]


def _state(key: dict[str, Any]) -> str:
    if key["revoked_at"]:
        return f"revoked {local(key['revoked_at'])}"
    if key["expires_at"] is None:
        return "good"
    past = datetime.fromisoformat(key["expires_at"]).timestamp() <= time.time()
    return f"{'expired' if past else 'good until'} {local(key['expires_at'])}"


def _rate(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d+)/(\d+(?:\.\d+)?)", text)
    if found is None:
        raise UsageProblem(f"--rate {text!r} is not COUNT/SECONDS, such as 100/60")
    return {"count": int(found[1]), "seconds": float(found[2])}


def register(app: typer.Typer) -> None:
    app.add_typer(keys, name="keys")
