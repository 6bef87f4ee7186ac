"""The store at a place: the one list of the kinds that there are."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from .errors import StoreProblem
from .places import check_place, on_server
from .sqlite import SqliteStore
from .store import Owner, Store


class OwnedStore(Store, Protocol):
    """A store that can change hands."""

    def take(self, *, create: bool, expect: str = "") -> Owner:
        """Become its next owner: a new generation, at tick 0; then closed, for a ledger to open.

        Only `create` makes a store that is not there. Raises StoreProblem where it cannot be taken, or is another one
        than `expect` ('': any); then nothing has changed. May not be called in an event loop.
        """


def store_at(where: str) -> OwnedStore:
    """The store that lies there, not opened. Raises StoreProblem where it is of no kind that we can open."""
    try:
        check_place(where)
    except ValueError as error:
        raise StoreProblem(str(error)) from None
    if on_server(where):
        from .postgres import PostgresStore  # the driver takes a while to load, and few need it

        return PostgresStore(where)
    return SqliteStore(Path(where))
