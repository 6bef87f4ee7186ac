"""Reads of a PostgreSQL: each has a connection to itself, and is tried again where that is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import asyncpg

from .errors import StoreProblem, Unavailable
from .postgres_link import TROUBLES, Address, Connector, away, is_lost, sentence
from .store import StoreFailed

# Asked for with a text that the database could not hold, as one with a NUL: nothing that it holds is like that.
_NO_TEXT = (asyncpg.DataError, asyncpg.CharacterNotInRepertoireError, asyncpg.UntranslatableCharacterError)


class Readers:
    """Up to `size` connections, made when they are needed; a read waits for its turn to have one."""

    def __init__(self, address: Address, settings: Mapping[str, str], size: int) -> None:
        self._address = address
        self._connector = Connector(address, settings)
        self._turn = asyncio.Semaphore(size)
        self._idle: list[Any] = []

    async def fetch(self, query: str, *values: Any) -> list[Any]:
        """The rows. Raises Unavailable where the server does not answer, StoreFailed where it cannot."""
        async with self._turn:
            connection = self._take()
            if connection is not None:
                try:
                    return await self._read(connection, query, values)
                except Unavailable:  # the server was started anew, say: then none of the others is good either
                    self.drop()
            return await self._read(await self._connect(), query, values)

    def drop(self) -> None:
        """Let go of the connections that nobody reads from."""
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.terminate()

    def close(self) -> None:
        """Read no more."""
        self._connector.close()
        self.drop()

    def _take(self) -> Any:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        return None

    async def _connect(self) -> Any:
        try:
            return await self._connector.connect()
        except StoreProblem as error:  # it was none when the store was opened: it may pass
            raise Unavailable(str(error)) from None

    async def _read(self, connection: Any, query: str, values: tuple[Any, ...]) -> list[Any]:
        try:
            async with asyncio.timeout(self._address.patience):
                rows: list[Any] = await connection.fetch(query, *values)
        except TROUBLES as error:
            if is_lost(connection, error):
                connection.terminate()
                raise away(self._address, error) from None
            self._give_back(connection)
            if type(error) in _NO_TEXT:
                return []
            raise StoreFailed(sentence(error)) from None
        except BaseException:
            connection.terminate()
            raise
        self._give_back(connection)
        return rows

    def _give_back(self, connection: Any) -> None:
        if self._connector.closed:
            connection.terminate()
        else:
            self._idle.append(connection)
