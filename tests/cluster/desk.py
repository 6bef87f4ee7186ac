"""A door with a desk behind it, and whom tests send there: callers, strangers and impostors."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from agents.errors import Overloaded
from cluster.direct import Direct
from cluster.door import NONCE, Door, Doorway, proof
from cluster.frames import HEAD

HOST = "127.0.0.1"


class Bomb:
    """Unpickling it leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.path),)


class Fragile(Exception):
    """Pickles, and does not come back from it."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(f"{one} and {other}")


class Desk:
    """What is behind the door of these tests."""

    def __init__(self) -> None:
        self.called: list[Any] = []
        self.gate = asyncio.Event()
        self.doorway = Doorway({"echo": self.echo, "fail": self.fail, "wait": self.wait, "fill": self.fill})

    async def echo(self, *args: Any, **named: Any) -> Any:
        self.called.append((args, named))
        return args, named

    async def fail(self, error: str) -> None:
        errors = {
            "ours": Overloaded("too many", retry_after=2.5),
            "theirs": ValueError("a fault of ours"),
            "stuck": OSError(asyncio.get_running_loop()),
            "fragile": Fragile("one", "other"),
        }
        raise errors[error]

    async def wait(self, name: str) -> str:
        self.called.append(name)
        await self.gate.wait()
        return name

    async def fill(self, size: int, padding: bytes = b"") -> bytes:
        self.called.append(size)
        return bytes(size)

    async def secret(self) -> str:
        """Is not on the list."""
        self.called.append("secret")
        return "!"


@asynccontextmanager
async def direct(door: Door | None) -> AsyncIterator[Direct]:
    async def find() -> Door | None:
        return door

    made = Direct(find)
    yield made
    made.close()


async def until(happened: Callable[[], bool], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not happened():
            await asyncio.sleep(0.005)


class Raw:
    """A peer that says whatever it likes."""

    def __init__(self, door: Door) -> None:
        self.door = door

    async def connect(self) -> None:
        self.reader, self.writer = await asyncio.open_connection(self.door.host, self.door.port)
        self.nonce = await self.read()

    async def read(self) -> bytes:
        size, _ = HEAD.unpack(await self.reader.readexactly(HEAD.size))
        return await self.reader.readexactly(size)

    def say(self, body: bytes, number: int = 0) -> None:
        self.writer.write(HEAD.pack(len(body), number) + body)

    def greeting(self) -> bytes:
        mine = secrets.token_bytes(NONCE)
        return mine + proof(self.door.secret, b"caller", self.nonce + mine)

    async def greet(self) -> None:
        self.say(self.greeting())
        await self.read()

    async def is_shown_out(self) -> bool:
        with suppress(ConnectionError):
            return await asyncio.wait_for(self.reader.read(), 5) == b""
        return True


@asynccontextmanager
async def impostor(
    talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[Door]:
    """Listens where a ledger did."""

    async def met(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await talk(reader, writer)
        writer.close()

    server = await asyncio.start_server(met, HOST, 0)
    yield Door(HOST, server.sockets[0].getsockname()[1], secrets.token_bytes(32))
    server.close()
