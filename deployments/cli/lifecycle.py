"""`up`, `deploy`, `down` and `status`."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.state import Busy, OtherStore, StateFolder

from .client import KEY, Client, key_of
from .errors import CommandFailed, ProblemAnswer, UsageProblem
from .hints import hints
from .options import DEFAULT_SETTINGS, DEFAULT_STATE, AsJson, SettingsFile, State, Store, state_folder
from .phases import audience
from .show import complain, note, show_json, show_status
from .signals import undo_when_ended

if TYPE_CHECKING:
    from deployments.admitting import Admission
    from deployments.state import Running
    from deployments.up import Order

Agents = Annotated[
    list[str] | None, typer.Option("--agents", metavar="MODULE:NAME", help="A further agent; may be repeated.")
]
Only = Annotated[bool, typer.Option("--only", help="Serve just those of --agents.")]
Port = Annotated[int | None, typer.Option(min=1, max=65535, help="Where to listen; 8000 by default.")]
Host = Annotated[str | None, typer.Option(help="On which address; 127.0.0.1 by default.")]


def up(
    agents: Agents = None,
    only: Only = False,
    port: Port = None,
    host: Host = None,
    store: Store = None,
    settings: SettingsFile = DEFAULT_SETTINGS,
    state: State = DEFAULT_STATE,
) -> None:
    """Start Ray on this machine (or join the one at RAY_ADDRESS), and serve agents on it."""
    began = time.monotonic()
    folder = state_folder(state)
    with _told(folder):
        order = _order(folder, settings, agents or [], only, _flags(port=port, host=host, store=store))
        folder.make()
        with folder.locked():
            record = _already(order)
            if record is None:
                record, admission = _start(order)
                note(f"\nRubato is up after {time.monotonic() - began:.0f} s: {record.url}")
                _tell(record, admission, order.admin_key)


def deploy(
    agents: Agents = None,
    only: Only = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be changed, and change nothing.")] = False,
    json: AsJson = False,
    settings: SettingsFile = DEFAULT_SETTINGS,
    state: State = DEFAULT_STATE,
) -> None:
    """Apply the settings, and the code as it lies here, to what runs: no task is lost and no caller turned away."""
    folder = state_folder(state)
    with _told(folder):
        folder.make()
        with folder.locked():
            record = _running(folder)
            order = _order(folder, settings, agents or [], only, record.flags)
            found = _deploy(record, order, dry_run=dry_run)
    if json:
        show_json({"changes": found, "applied": bool(found) and not dry_run}, compact=True)
    elif dry_run:
        typer.echo("\n".join(found) or "nothing would be changed")
    else:
        note("applied" if found else "nothing is to be changed")


def down(state: State = DEFAULT_STATE) -> None:
    """End what `up` started. Tasks stay in the store, and the next `up` goes on with them."""
    folder = state_folder(state)
    with _told(folder):
        if folder.id() is None:
            note("nothing runs: there is no state folder")
            return
        from deployments.down import down as end

        with folder.locked():
            ended = end(folder)
        note(f"Rubato is down; its tasks are kept in {_store(folder)}" if ended else "nothing runs")


def status(json: AsJson = False, state: State = DEFAULT_STATE) -> None:
    """Say what runs: URL, agents, workers, tasks, store."""
    from dataclasses import asdict

    folder = state_folder(state)
    with _told(folder):
        from deployments.status import status as look

        found = look(folder)
    if json:
        show_json(asdict(found), compact=True)
    else:
        show_status(asdict(found))
    if not found.up:
        raise typer.Exit(1)


def _flags(*, port: int | None, host: str | None, store: str | None) -> dict[str, dict[str, Any]]:
    serve = {name: value for name, value in (("port", port), ("host", host)) if value is not None}
    return {"serve": serve, "store": {} if store is None else {"url": store}}


def _order(folder: StateFolder, file: Path, agents: list[str], only: bool, flags: dict[str, dict[str, Any]]) -> Order:
    from deployments.admitting import ADMIN_KEY
    from deployments.settings import load
    from deployments.up import Order

    settings = load(file, os.environ, flags)
    named = {} if only else {name: table.agent for name, table in settings.agents.items()}
    if not named and not agents:
        raise UsageProblem("there is no agent to serve: name one with --agents MODULE:NAME, or in rubato.toml")
    admin_key = os.environ.get(ADMIN_KEY, "").strip()
    return Order(folder, settings, named, tuple(agents), os.environ.get("RAY_ADDRESS", ""), admin_key, flags)


def _already(order: Order) -> Running | None:
    """What runs for this folder already, said; with what the order asks beyond it."""
    from deployments.changes import difference
    from deployments.up import running

    record = running(order.state)
    if record is None:
        return None
    note(f"Rubato is already up: {record.url}")
    changes = difference(record, order)
    for line in changes:
        note(f"  {line}")
    if changes:
        note("that is what this `up` asks for and what runs has not; `./rubato deploy` applies it")
    return record


def _running(folder: StateFolder) -> Running:
    from deployments.up import running

    record = running(folder)
    if record is None:
        raise CommandFailed("nothing runs for this state folder; start it with ./rubato up")
    return record


def _deploy(record: Running, order: Order, *, dry_run: bool) -> list[str]:
    """What was, or would be, changed, a line for each thing."""
    from deployments.deploying import deploy as apply
    from deployments.deploying import plan
    from deployments.phases import Phases
    from deployments.up import carrying

    with audience() as shown:
        phases = Phases(shown, {})
        order = carrying(order, phases)
        found, catalog = plan(record, order, phases)
        if found and not dry_run:
            for line in found.lines:
                note(f"  {line}")
            apply(record, order, found, catalog, phases)
    return found.lines


def _start(order: Order) -> tuple[Running, Admission]:
    from deployments.phases import Phases
    from deployments.up import up as start

    undo_when_ended()
    with audience() as shown:
        return start(order, Phases(shown, {}))


def _store(folder: StateFolder) -> str:
    from cluster.places import without_password

    return without_password(folder.store("")[0])


def _tell(record: Running, admission: Admission, admin_key: str) -> None:
    """Who is let in, and what to try; a key that was made is the one thing on stdout."""
    if admission.open:
        note("Whoever reaches this address may do everything, as long as there are no keys (./rubato keys create).")
    elif admission.made:
        note("Whoever calls needs a key. This one may do everything; it is shown now and never again:")
        typer.echo(admission.made)
        note(f"The commands here call with what is in {KEY}: export {KEY}=rbt_...")
    else:
        note(f"Whoever calls needs a key; the commands here call with what is in {KEY}.")
    key = admission.made or admin_key or key_of(os.environ)
    with suppress(ProblemAnswer):  # the key in the environment may be one of another Rubato
        agents = Client(record.url, key).ask("GET", "/v1/agents")["items"]
        lines = hints(record.url, agents, keyed=not admission.open)
        note("\n".join(["", "Try:", *(f"  {line}" for line in lines)]))


@contextmanager
def _told(folder: StateFolder) -> Iterator[None]:
    """Turn what may go wrong into a sentence."""
    from agents import RubatoError
    from deployments.phases import PhaseFailed
    from deployments.settings import SettingsProblem

    try:
        yield
    except SettingsProblem as problem:
        raise UsageProblem("\n".join(problem.problems)) from None
    except PhaseFailed as failed:
        complain(str(failed))
        (folder.logs / "up.log").write_text("".join(traceback.format_exception(failed)))
        raise CommandFailed(f"what was started has been ended again; the logs are in {folder.logs}") from None
    except (Busy, OtherStore, RubatoError) as error:
        raise CommandFailed(str(error)) from None


def register(app: typer.Typer) -> None:
    for command in (up, deploy, down, status):
        app.command()(command)
