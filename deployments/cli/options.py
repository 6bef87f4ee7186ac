"""Options that more than one command takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deployments.state import ROOT, StateFolder

from .errors import UsageProblem

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Url = Annotated[
    str, typer.Option("--url", envvar="RUBATO_URL", help="Where Rubato answers; by default what `up` started.")
]
State = Annotated[
    Path, typer.Option("--state", envvar="RUBATO_STATE", help="The state folder.", show_default=".rubato")
]
Store = Annotated[
    str | None, typer.Option(metavar="PATH|URL", help="What holds the tasks: a SQLite file, or a postgresql:// URL.")
]
SettingsFile = Annotated[Path, typer.Option("--settings", help="The settings.", show_default="rubato.toml")]
OnMarket = Annotated[
    str | None, typer.Option("--market", metavar="MARKET", help="Nodes that it may run on: any, spot or on_demand.")
]
Session = Annotated[str | None, typer.Option(metavar="ID", help="The session that it belongs to.")]
DEFAULT_STATE = ROOT / ".rubato"
DEFAULT_SETTINGS = ROOT / "rubato.toml"


def refuse_before(context: typer.Context, *names: str) -> None:
    """Raises UsageProblem for an option of a group that stands where its command would not see it."""
    for name in names:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise UsageProblem(f"--{name} goes behind {context.invoked_subcommand}")


def state_folder(path: Path) -> StateFolder:
    return StateFolder(path.expanduser())
