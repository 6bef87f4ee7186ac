"""`backup` and `restore`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.state import Busy, OtherStore, StateFolder

from .errors import CommandFailed, UsageProblem
from .options import DEFAULT_SETTINGS, DEFAULT_STATE, AsJson, SettingsFile, State, Store, state_folder
from .phases import audience
from .show import note, show_json
from .signals import undo_when_ended

if TYPE_CHECKING:
    from deployments.settings import Settings

Target = Annotated[Path, typer.Argument(metavar="PATH", help="The file to make.")]
Source = Annotated[Path, typer.Argument(metavar="PATH", help="A file of `backup`, or a ledger that was set aside.")]


def backup(
    path: Target, settings: SettingsFile = DEFAULT_SETTINGS, json: AsJson = False, state: State = DEFAULT_STATE
) -> None:
    """Copy the ledger, every task and what is recorded of it, into one file; it may run meanwhile."""
    folder = state_folder(state)
    undo_when_ended()
    with _told():
        from deployments.keeping import backup as make
        from deployments.phases import Phases

        artifacts = _artifacts(folder, _settings(settings))
        with audience() as shown:
            made = make(folder, path.expanduser().absolute(), artifacts, Phases(shown, {}))
    if json:
        show_json(asdict(made), compact=True)
        return
    note(f"{made.path} ({made.bytes / 2**20:,.1f} MiB) holds {_counted(made.tasks)}")
    note(f"artifacts are not in it: copy {made.artifacts} too, now that this file is made")


def restore(
    path: Source,
    store: Store = None,
    settings: SettingsFile = DEFAULT_SETTINGS,
    json: AsJson = False,
    state: State = DEFAULT_STATE,
) -> None:
    """Let the next `up` go on with the ledger in PATH; what is there now is kept beside it. Nothing may run."""
    folder = state_folder(state)
    undo_when_ended()
    with _told():
        from deployments.keeping import restore as put_back
        from deployments.phases import Phases

        found = _settings(settings, store)
        folder.make()
        with folder.locked(), audience() as shown:
            source, artifacts = path.expanduser().absolute(), _artifacts(folder, found)
            put = put_back(folder, source, found.store.url, artifacts, Phases(shown, {}))
    if json:
        show_json(asdict(put), compact=True)
        return
    note(f"{put.store} holds {_counted(put.tasks)}; the next ./rubato up goes on with them")
    if put.aside:
        note(f"what was there is kept in {put.aside}")
    if put.left:
        note(f"the ledger that {folder.path} had so far is left in {put.left}")
    note(f"the artifacts that it refers to must be in {put.artifacts}")


def _settings(file: Path, store: str | None = None) -> Settings:
    from deployments.settings import load

    return load(file, os.environ, {} if store is None else {"store": {"url": store}})


def _artifacts(folder: StateFolder, settings: Settings) -> str:
    return settings.artifacts.url or str(folder.path / "artifacts")


def _counted(tasks: dict[str, int]) -> str:
    states = ", ".join(f"{count} {state}" for state, count in sorted(tasks.items()))
    return f"{sum(tasks.values())} tasks" + (f" ({states})" if states else "")


@contextmanager
def _told() -> Iterator[None]:
    """Turn what may go wrong into a sentence."""
    from agents import RubatoError
    from deployments.phases import PhaseFailed
    from deployments.settings import SettingsProblem

    try:
        yield
    except SettingsProblem as problem:
        raise UsageProblem("\n".join(problem.problems)) from None
    except PhaseFailed as failed:
        if not isinstance(failed.error, (RubatoError, OSError)):
            raise
        raise CommandFailed(str(failed.error)) from None
    except (Busy, OtherStore, RubatoError, OSError) as error:
        raise CommandFailed(str(error)) from None


def register(app: typer.Typer) -> None:
    for command in (backup, restore):
        app.command()(command)
