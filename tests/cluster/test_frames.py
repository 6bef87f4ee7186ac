"""Messages leave in their order and arrive whole, wherever the stream is cut."""

from __future__ import annotations

import asyncio
import random
import secrets
import socket

import pytest

from cluster.direct import Away, Connection
from cluster.frames import HEAD, HELD, Frames


class Kept(Frames):
    """Keeps what it receives."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[tuple[int, bytes]] = []

    def received(self, number: int, body: memoryview) -> None:
        self.kept.append((number, bytes(body)))


class Written:
    """A transport that keeps what is written to it."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def get_extra_info(self, name: str) -> socket.socket:
        return socket.socket()

    def write(self, data: bytes) -> None:
        self.pieces.append(data)

    def abort(self) -> None:
        self.pieces.append(b"aborted")


def connected(end: Frames) -> Written:
    under = Written()
    end.connection_made(under)  # type: ignore[arg-type]
    return under


@pytest.mark.slow
async def test_messages_arrive_whole_wherever_they_are_cut() -> None:
    roll = random.Random(7)
    bodies = [b"", b"x", bytes(100), b"", secrets.token_bytes(3000), b"end"]
    stream = b"".join(HEAD.pack(len(body), number) + body for number, body in enumerate(bodies))
    cuttings = [[len(stream)], [1] * len(stream)]
    cuttings += [[roll.choice((1, 3, 11, 12, 13, 500)) for _ in range(len(stream))] for _ in range(200)]

    for cutting in cuttings:
        end, at = Kept(), 0
        connected(end)
        for size in cutting:
            end.data_received(stream[at : at + size])
            at += size
            if at >= len(stream):
                break
        assert end.kept == list(enumerate(bodies)), cutting


async def test_what_is_sent_in_one_turn_leaves_in_one_piece_in_its_order() -> None:
    end, reader = Kept(), Kept()
    under = connected(end)
    connected(reader)

    for number in range(10):
        end.send(number, b"x" * number)
    assert under.pieces == []
    await asyncio.sleep(0)
    end.send(10, b"next")
    await asyncio.sleep(0)

    assert len(under.pieces) == 2
    for piece in under.pieces:
        reader.data_received(piece)
    assert reader.kept == [*((number, b"x" * number) for number in range(10)), (10, b"next")]


async def test_much_does_not_wait_for_the_end_of_the_turn() -> None:
    end = Kept()
    under = connected(end)

    end.send(1, b"x" * (HELD - HEAD.size - 1))
    assert under.pieces == []
    end.send(2, b"")

    assert [len(piece) for piece in under.pieces] == [HELD + HEAD.size - 1]


async def test_after_its_end_nothing_is_sent_or_received() -> None:
    end = Kept()
    under = connected(end)
    end.send(1, b"held")

    end.abort()
    end.abort()
    end.send(2, b"late")
    end.data_received(HEAD.pack(0, 3))
    await asyncio.sleep(0)

    assert under.pieces == [b"aborted"]
    assert end.kept == []


async def test_no_connection_is_needed_to_be_told_that_there_is_none() -> None:
    end = Connection(b"secret")
    connected(end)
    end.connection_lost(None)

    with pytest.raises(Away):
        await end.call("echo", (), {})
    with pytest.raises(Away):
        await end.welcome
