"""A way in beside Ray's: whoever proves to know a secret may call a fixed list of methods over a connection.

The secret keeps strangers out. What travels is not encrypted, as Ray's own traffic is not unless it is told to.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import pickle
import secrets
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from agents import RubatoError

from .errors import Unavailable
from .frames import LARGEST, Frames

NONCE = 32
GREETING = NONCE + 32  # bytes of the longest message before the other side is known
PATIENCE = 5.0  # seconds in which it must be
BACKLOG = 1024  # connections that wait to be taken
STRANGERS = 64  # who are not known yet, at once; more are turned away
AT_ONCE = 10_000  # calls of one visitor that are in progress; further ones are not even read

log = logging.getLogger("rubato.door")

Calls = Mapping[str, Callable[..., Awaitable[Any]]]


@dataclass(frozen=True, slots=True)
class Door:
    """Where calls are taken, until the process behind it ends. The secret is told only through Ray, to its own.

    `near` is the name of a socket that only processes of this machine reach, at less cost; '': there is none.
    """

    host: str
    port: int
    secret: bytes = field(repr=False)
    near: str = ""


def proof(secret: bytes, whose: bytes, nonces: bytes) -> bytes:
    """What only those can say who know the secret; of no use a second time, nor to the other side."""
    return hmac.digest(secret, whose + nonces, "sha256")


class Doorway:
    """Takes connections, and calls the methods it was given for those that prove themselves.

    Nothing is unpickled for anyone else. What a method raises travels to its caller; a call goes on when its caller
    is gone, and its outcome goes nowhere.
    """

    def __init__(self, calls: Calls) -> None:
        self.calls = calls
        self.secret = secrets.token_bytes(NONCE)
        self.strangers: set[Visit] = set()
        self.visits: set[Visit] = set()
        self.running: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.Server] = []

    async def open(self, host: str) -> Door:
        """Listen there. Raises OSError where that address is not this machine's."""
        loop = asyncio.get_running_loop()
        far = await loop.create_server(lambda: Visit(self), host, 0, backlog=BACKLOG)
        self._servers.append(far)
        return Door(host, far.sockets[0].getsockname()[1], self.secret, await self._open_near())

    async def _open_near(self) -> str:
        """A name without a file is gone with this process; '' where there can be none."""
        near, loop = f"\0rubato-{secrets.token_hex(16)}", asyncio.get_running_loop()
        if sys.platform != "linux":
            return ""
        try:
            self._servers.append(await loop.create_unix_server(lambda: Visit(self), near, backlog=BACKLOG))
        except OSError as error:
            log.warning("those on this machine come the long way: %s", error)
            return ""
        return near

    def close(self) -> None:
        """Listen no more, and end every connection."""
        for server in self._servers:
            server.close()
        for visit in [*self.strangers, *self.visits]:
            visit.abort()


class Visit(Frames):
    """The door's end of one connection."""

    largest = GREETING

    def __init__(self, doorway: Doorway) -> None:
        super().__init__()
        self._doorway = doorway
        self._nonce = secrets.token_bytes(NONCE)
        self._timer: asyncio.TimerHandle | None = None
        self._running = 0
        self._reading = True
        self._stuffed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if len(self._doorway.strangers) >= STRANGERS:
            self.abort()
            return
        self._doorway.strangers.add(self)
        self._timer = self.loop.call_later(PATIENCE, self.abort)
        self.send(0, self._nonce)

    def over(self, why: str) -> None:
        self._calm()
        self._doorway.strangers.discard(self)
        self._doorway.visits.discard(self)

    def received(self, number: int, body: memoryview) -> None:
        if self in self._doorway.visits:
            self._begin(number, body)
        else:
            self._greet(bytes(body))

    def pause_writing(self) -> None:
        self._stuffed = True
        self._heed()

    def resume_writing(self) -> None:
        self._stuffed = False
        self._heed()

    def _greet(self, said: bytes) -> None:
        secret, theirs = self._doorway.secret, said[:NONCE]
        if not hmac.compare_digest(said[NONCE:], proof(secret, b"caller", self._nonce + theirs)):
            log.warning("a caller did not know the secret")
            self.abort()
            return
        self._calm()
        self._doorway.strangers.discard(self)
        self._doorway.visits.add(self)
        self.largest = LARGEST
        self.send(0, proof(secret, b"door", self._nonce + theirs))

    def _begin(self, number: int, body: memoryview) -> None:
        task = self.loop.create_task(self._answer(number, body))
        self._doorway.running.add(task)
        self._running += 1
        task.add_done_callback(self._ended)
        self._heed()

    async def _answer(self, number: int, body: memoryview) -> None:
        try:
            method, args, named = pickle.loads(body)
            del body  # it is a piece of all that came with it
            call = self._doorway.calls.get(method)
            if call is None:
                raise AttributeError(f"there is no method {method!r}")
            outcome = True, await call(*args, **named)
        except RubatoError as error:
            outcome = False, error
        except Exception as error:  # whatever it was, its caller must hear it
            log.exception("a call failed")
            outcome = False, error
        if self._stuffed and self.transport.get_write_buffer_size() > LARGEST:
            log.warning("a caller takes no answers")
            self.abort()
        if self.open:
            self.send(number, _packed(outcome))

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._doorway.running.discard(task)
        self._running -= 1
        self._heed()

    def _heed(self) -> None:
        """Read on only while there is room for what it would bring."""
        reading = self._running < AT_ONCE and not self._stuffed
        if reading != self._reading and self.open:
            self._reading = reading
            self.transport.resume_reading() if reading else self.transport.pause_reading()

    def _calm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _packed(outcome: tuple[bool, Any]) -> bytes:
    """The outcome as it travels; one that cannot is told of in words."""
    try:
        packed = pickle.dumps(outcome, pickle.HIGHEST_PROTOCOL)
    except Exception as error:  # noqa: BLE001 - an exception may hold whatever its author put into it
        packed = pickle.dumps((False, RuntimeError(f"{outcome[1]!r} cannot travel: {error!r}")))
    if len(packed) > LARGEST:
        refusal = Unavailable(f"the answer has {len(packed)} bytes, and {LARGEST} may travel")
        packed = pickle.dumps((False, refusal))
    return packed
