"""Calls over a connection of our own, to whoever is behind a door: a call of Ray's costs each side a millisecond."""

from __future__ import annotations

import asyncio
import hmac
import pickle
import secrets
import socket
from collections.abc import Awaitable, Callable, Coroutine
from itertools import count
from typing import Any

from .door import GREETING, NONCE, Door, proof
from .errors import Unavailable
from .frames import LARGEST, Frames

PATIENCE = 5.0  # seconds in which there must be a connection


class Away(Exception):
    """Nobody answers now; the text says why. What was asked for has happened or not."""


class NoDoor(Exception):
    """There is no way in but Ray's: none is offered, or it cannot be reached; the text says why."""


class Connection(Frames):
    """The caller's end: any number of calls at once, answered in any order. Once it breaks each of them is Away."""

    largest = GREETING

    def __init__(self, secret: bytes) -> None:
        super().__init__()
        self._secret = secret
        self._said = b""
        self._known = False
        self._numbers = count(1)
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._room: asyncio.Event | None = None
        self.welcome: asyncio.Future[None] = self.loop.create_future()

    async def call(self, method: str, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """What the method returns; what it raises is raised here. Raises Away: the call has then happened or not."""
        body = pickle.dumps((method, args, named), pickle.HIGHEST_PROTOCOL)
        if len(body) > LARGEST:
            raise Unavailable(f"the call has {len(body)} bytes, and {LARGEST} may travel")
        while self._room is not None:
            await self._room.wait()
        if not self.open:
            raise Away("the connection was lost")
        number = next(self._numbers)
        answer = self._calls[number] = self.loop.create_future()
        self.send(number, body)
        try:
            return await answer
        finally:
            self._calls.pop(number, None)

    def received(self, number: int, body: memoryview) -> None:
        if not self._known:
            self._greet(bytes(body))
            return
        answer = self._calls.get(number)
        if answer is None or answer.done():
            return  # whoever asked has left
        try:
            well, outcome = pickle.loads(body)
        except Exception as error:  # noqa: BLE001 - an exception that pickles, and does not come back from it
            well, outcome = False, error
        if well:
            answer.set_result(outcome)
        else:
            answer.set_exception(outcome)

    def over(self, why: str) -> None:
        for answer in [self.welcome, *self._calls.values()]:
            if not answer.done():
                answer.set_exception(Away(f"the connection was lost: {why}"))
                answer.exception()  # it counts as heard, even where nobody is left to hear it
        self.resume_writing()

    def pause_writing(self) -> None:
        self._room = asyncio.Event()

    def resume_writing(self) -> None:
        if self._room is not None:
            self._room.set()
            self._room = None

    def _greet(self, said: bytes) -> None:
        """Answer the door's nonce; then see that it knows the secret too: what it answers will be unpickled."""
        if not self._said and len(said) == NONCE:
            mine = secrets.token_bytes(NONCE)
            self._said = said + mine
            self.send(0, mine + proof(self._secret, b"caller", self._said))
        elif self._said and hmac.compare_digest(said, proof(self._secret, b"door", self._said)):
            self._known = True
            self.largest = LARGEST
            if not self.welcome.done():  # whoever connected may have given up
                self.welcome.set_result(None)
        else:
            self.abort()


class Direct:
    """Makes the connection when it is needed, once for all who call meanwhile; and anew after it broke, by asking
    again where the door is: its next life has another."""

    def __init__(self, find: Callable[[], Awaitable[Door | None]]) -> None:
        self._find = find
        self.connection: Connection | None = None
        self._connecting: asyncio.Task[Connection] | None = None

    def call(self, method: str, args: tuple[Any, ...], named: dict[str, Any]) -> Coroutine[Any, Any, Any]:
        """As Connection.call. Raises NoDoor too, and whatever `find` raises."""
        connection = self.connection
        if connection is None or not connection.open or connection.loop is not asyncio.get_running_loop():
            return self._first_call(method, args, named)
        return connection.call(method, args, named)

    def close(self) -> None:
        """End the connection; the next call makes another."""
        if self.connection is not None:
            self.connection.abort()
            self.connection = None

    async def _first_call(self, method: str, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        connection = await self._connected()
        return await connection.call(method, args, named)

    async def _connected(self) -> Connection:
        loop = asyncio.get_running_loop()
        connecting = self._connecting
        if connecting is None or connecting.done() or connecting.get_loop() is not loop:
            connecting = self._connecting = loop.create_task(self._connect())
            connecting.add_done_callback(_look_at)
        self.connection = await asyncio.shield(connecting)
        return self.connection

    async def _connect(self) -> Connection:
        try:
            door = await asyncio.wait_for(self._find(), PATIENCE)
        except TimeoutError:
            raise Away(f"it has not said for {PATIENCE:.0f} s where its door is") from None
        if door is None:
            raise NoDoor("it has none")
        connection: Connection | None = None
        try:
            async with asyncio.timeout(PATIENCE):
                connection = await _connection(door)
                await connection.welcome
                return connection
        except (OSError, TimeoutError, Away) as error:
            if connection is not None:
                connection.abort()
            raise NoDoor(f"{door.host}:{door.port}: {str(error) or type(error).__name__}") from error


async def _connection(door: Door) -> Connection:
    """The shortest way: the door may be on another machine, or in another container of this one. Raises OSError."""
    loop = asyncio.get_running_loop()
    if near := getattr(door, "near", ""):  # one that was told by a ledger of the code before has none
        found = socket.socket(socket.AF_UNIX)
        try:
            found.setblocking(False)
            found.connect(near)  # by hand: uvloop knows no names without a file
            return (await loop.create_unix_connection(lambda: Connection(door.secret), sock=found))[1]
        except OSError:
            found.close()
    return (await loop.create_connection(lambda: Connection(door.secret), door.host, door.port))[1]


def _look_at(done: asyncio.Task[Connection]) -> None:
    """Whoever waited has heard it; if they all left, nobody needs to."""
    if not done.cancelled():
        done.exception()
