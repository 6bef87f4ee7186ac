"""How far long work is: a bar on a terminal, plain lines elsewhere; always on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .show import note


@contextmanager
def counting(what: str, total: int) -> Iterator[Callable[[str], None]]:
    """Count `total` things; call what is given with a word on each one that is done, from any thread."""
    if not sys.stderr.isatty():
        yield _lines(what, total)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        shown = bar.add_task("", total=total)
        yield lambda word: bar.update(shown, advance=1, description=word)


@contextmanager
def measuring(what: str) -> Iterator[Callable[[int, int, str], None]]:
    """A bar on a terminal: call what is given with how much of how much is done, and a word on it."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        shown = bar.add_task("", total=None)
        yield lambda done, total, word: bar.update(shown, completed=done, total=total, description=word)


def _lines(what: str, total: int) -> Callable[[str], None]:
    done = 0

    def advance(word: str) -> None:
        nonlocal done
        done += 1
        note(f"{what} {done}/{total} {word}")

    return advance
