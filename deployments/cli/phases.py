"""Phases as they are shown: a spinner and a clock for each on a terminal, plain lines elsewhere; always on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from deployments.phases import Audience

from .show import note

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Lines:
    """For a log: a line when a phase begins, and one when it has ended."""

    def begins(self, phase: str) -> None:
        note(f"{phase} ...")

    def ends(self, phase: str, seconds: float) -> None:
        note(f"{phase}: {seconds:.1f} s")

    def says(self, phase: str, words: str) -> None:
        return


class Spinners:
    """For a terminal: all phases that are going on, and since when."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._shown: dict[str, TaskID] = {}

    def begins(self, phase: str) -> None:
        self._shown[phase] = self._progress.add_task(phase, total=1, words="")

    def ends(self, phase: str, seconds: float) -> None:
        self._progress.update(self._shown[phase], completed=1, words="")

    def says(self, phase: str, words: str) -> None:
        self._progress.update(self._shown[phase], words=words)


@contextmanager
def audience() -> Iterator[Audience]:
    """Whoever reads stderr."""
    if not sys.stderr.isatty():
        yield Lines()
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(finished_text="[green]✓"),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[words]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield Spinners(progress)
