"""A store as callers read it: what its database's driver raises is Unavailable, for it may work again later."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, cast

from agents import RubatoError

from .errors import Unavailable
from .store import Store

log = logging.getLogger("rubato.ledger")


class _Reads:
    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        method = getattr(self._store, name)

        async def read(*args: Any) -> Any:
            try:
                return await method(*args)
            except RubatoError:
                raise
            except Exception as error:  # whatever the driver raises: a full disk, a statement that took too long
                log.warning("the store could not be read (%s): %s", name, error)
                raise Unavailable(f"the store could not be read: {error}") from error

        return read


def reads_of(store: Store) -> Store:
    """The same store, to be read by those whose callers hear of errors."""
    return cast(Store, _Reads(store))
