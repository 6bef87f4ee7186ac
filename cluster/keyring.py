"""API keys in the ledger: all of them in its memory, what may be done to them, and what those who check them read."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import TypeVar

from .apikeys import ApiKey
from .book import Book
from .client import Keys
from .errors import Conflict
from .ticks import Ticks

MOST = 10_000  # keys that may let somebody in: whoever checks them holds them all
REVOKED = 1000  # keys of which it is kept that they were revoked, the newest

Found = TypeVar("Found")


def add(book: Book, key: ApiKey) -> ApiKey:
    """Keep a new key; the same one is added once. Raises Conflict."""
    found = book.api_keys.get(key.id)
    if found is not None:
        if (found.tenant, found.digest) != (key.tenant, key.digest):
            raise Conflict(f"there is a key {key.id} already, with another secret")
        return found
    if not book.api_keys and not key.operator:
        raise Conflict(
            "the first key must have the scope admin and no tenant: from it on nobody gets in without a key, and"
            " somebody has to make the others"
        )
    if sum(key.revoked_at is None for key in book.api_keys.values()) >= MOST:
        raise Conflict(f"there are {MOST} keys, and there may be no more; revoke what is not used")
    kept = key._replace(created_at=book.clock.now())
    _put(book, kept)
    return kept


def revoke(book: Book, tenant: str | None, id: str) -> ApiKey | None:
    """The key, which lets nobody in from now on; None if this tenant (None: anybody) has none of that id."""
    key = find(book, tenant, id)
    if key is None or key.revoked_at is not None:
        return key
    revoked = key._replace(revoked_at=book.clock.now())
    _put(book, revoked)
    _forget_the_oldest(book)
    return revoked


def find(book: Book, tenant: str | None, id: str) -> ApiKey | None:
    """The key, None if this tenant (None: anybody) has none of that id."""
    key = book.api_keys.get(id)
    return key if key is not None and tenant in (None, key.tenant) else None


def some(book: Book, tenant: str | None, after: str | None, limit: int) -> list[ApiKey]:
    """At most `limit` keys of the tenant (None: of everybody), the newest first, ids below `after`."""
    keys = (key for key in book.api_keys.values() if tenant in (None, key.tenant))
    return heapq.nlargest(limit, (key for key in keys if after is None or key.id < after), lambda key: key.id)


def since(book: Book, version: str) -> Keys | None:
    """What there is, None where that is what this version says already."""
    now = f"{book.id}:{book.key_changes}"
    if version == now:
        return None
    valid = tuple(key for key in book.api_keys.values() if key.revoked_at is None)
    return Keys(now, valid, made=bool(book.api_keys))


def _put(book: Book, key: ApiKey) -> None:
    book.api_keys[key.id] = book.writes.api_keys[key.tenant, key.id] = key
    book.key_changes += 1


def _forget_the_oldest(book: Book) -> None:
    """So that keys which are made and revoked day by day do not fill the memory; never all, as `made` tells."""
    revoked = [(key.revoked_at, key.id) for key in book.api_keys.values() if key.revoked_at is not None]
    for _, id in heapq.nsmallest(len(revoked) - REVOKED, revoked):
        key = book.api_keys.pop(id)
        book.writes.api_keys[key.tenant, id] = None


class KeyKeeping:
    """What a ledger lets callers do to keys; a tenant that is None is everybody."""

    _ticks: Ticks

    async def _look(self, look: Callable[[Book], Found]) -> Found:
        raise NotImplementedError

    async def add_key(self, key: ApiKey) -> ApiKey:
        """The key as it is kept from now on. Raises Conflict."""
        kept: ApiKey = await self._ticks.ask(lambda book, _: add(book, key))
        return kept

    async def revoke_key(self, tenant: str | None, id: str) -> ApiKey | None:
        """The key, which lets nobody in from now on; None if there is none."""
        revoked: ApiKey | None = await self._ticks.move(lambda book, _: revoke(book, tenant, id))
        return revoked

    async def key(self, tenant: str | None, id: str) -> ApiKey | None:
        """The key, None if there is none."""
        return await self._look(lambda book: find(book, tenant, id))

    async def keys(self, tenant: str | None, after: str | None, limit: int) -> list[ApiKey]:
        """At most `limit` keys, the newest first, ids below `after`."""
        return await self._look(lambda book: some(book, tenant, after, limit))

    async def keys_since(self, version: str) -> Keys | None:
        """All that check keys need to know, None where nothing changed since that version."""
        return await self._look(lambda book: since(book, version))
