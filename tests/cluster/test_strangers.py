"""At either end of a connection, nothing is unpickled of whoever does not know the secret."""

from __future__ import annotations

import asyncio
import hmac
import os
import pickle
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster import door as doors
from cluster import frames
from cluster.direct import NoDoor
from cluster.door import NONCE, proof
from cluster.frames import HEAD

from .desk import HOST, Bomb, Desk, Raw, direct, impostor, until

# at the door


async def test_whoever_knows_the_secret_is_let_in(stranger: Raw) -> None:
    await stranger.greet()

    stranger.say(pickle.dumps(("echo", (7,), {})), number=5)

    assert pickle.loads(await stranger.read()) == (True, ((7,), {}))


def of_a_wrong_secret(raw: Raw) -> bytes:
    mine = secrets.token_bytes(NONCE)
    return mine + proof(secrets.token_bytes(32), b"caller", raw.nonce + mine)


def of_the_doors_own_words(raw: Raw) -> bytes:
    mine = secrets.token_bytes(NONCE)
    return mine + proof(raw.door.secret, b"door", raw.nonce + mine)


@pytest.mark.parametrize(
    "greeting",
    [
        of_a_wrong_secret,
        of_the_doors_own_words,
        lambda raw: raw.greeting()[:-1],
        lambda raw: raw.greeting()[:NONCE],
        lambda raw: raw.door.secret * 2,
        lambda raw: b"",
        lambda raw: secrets.token_bytes(64),
    ],
)
async def test_nothing_is_unpickled_for_whoever_does_not_know_it(
    stranger: Raw, desk: Desk, tmp_path: Path, greeting: Callable[[Raw], bytes]
) -> None:
    bomb = tmp_path / "bomb"

    stranger.say(greeting(stranger))
    stranger.say(pickle.dumps(Bomb(bomb)))

    assert await stranger.is_shown_out()
    assert not bomb.exists()
    assert not desk.doorway.visits
    assert not desk.doorway.strangers


async def test_a_bomb_in_place_of_a_greeting_does_not_go_off(
    stranger: Raw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    bomb = pickle.dumps(Bomb(Path("b")))
    assert len(bomb) <= doors.GREETING, "it must not be refused for its size alone"

    stranger.say(bomb)

    assert await stranger.is_shown_out()
    assert os.listdir() == []


async def test_a_greeting_that_was_overheard_opens_nothing(stranger: Raw, desk: Desk) -> None:
    overheard = stranger.greeting()
    stranger.say(overheard)
    await stranger.read()

    other = Raw(stranger.door)
    await other.connect()
    other.say(overheard)

    assert await other.is_shown_out()
    assert len(desk.doorway.visits) == 1
    other.writer.close()


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\xff" * 5000, HEAD.pack(65, 0) + b"x"])
async def test_garbage_is_not_listened_to(stranger: Raw, said: bytes) -> None:
    stranger.writer.write(said)

    assert await stranger.is_shown_out()


@pytest.mark.parametrize("said", [b"", b"\0\0", HEAD.pack(64, 0), HEAD.pack(64, 0) + b"x" * 63])
async def test_a_stranger_who_falls_silent_is_shown_out(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr(doors, "PATIENCE", 0.1)
    raw = Raw(await desk.doorway.open(HOST))
    await raw.connect()

    raw.writer.write(said)

    assert await raw.is_shown_out()
    assert not desk.doorway.strangers
    raw.writer.close()


async def test_one_who_is_known_may_be_silent_for_as_long_as_it_likes(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doors, "PATIENCE", 0.05)
    raw = Raw(await desk.doorway.open(HOST))
    await raw.connect()
    await raw.greet()

    await asyncio.sleep(0.2)
    raw.say(pickle.dumps(("echo", (), {})))

    assert pickle.loads(await raw.read()) == (True, ((), {}))
    raw.writer.close()


async def test_strangers_are_few_at_a_time(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doors, "STRANGERS", 2)
    door = await desk.doorway.open(HOST)
    waiting = [Raw(door), Raw(door)]
    for raw in waiting:
        await raw.connect()

    late = Raw(door)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await late.connect()
    await waiting[0].greet()
    await late.connect()
    await late.greet()

    assert len(desk.doorway.visits) == 2
    for raw in [*waiting, late]:
        raw.writer.close()


@pytest.mark.parametrize("said", [HEAD.pack(frames.LARGEST + 1, 1) + b"x", HEAD.pack(2**32 - 1, 1)])
async def test_a_message_larger_than_any_is_not_read(stranger: Raw, desk: Desk, said: bytes) -> None:
    await stranger.greet()

    stranger.writer.write(said)

    assert await stranger.is_shown_out()
    assert not desk.doorway.visits


async def test_half_a_message_calls_nothing(stranger: Raw, desk: Desk) -> None:
    await stranger.greet()
    whole = pickle.dumps(("echo", (), {}))

    stranger.writer.write(HEAD.pack(len(whole), 1) + whole[:-1])
    stranger.writer.write_eof()

    assert await stranger.is_shown_out()
    assert desk.called == []
    assert not desk.doorway.visits


async def test_a_message_that_is_no_call_fails_by_its_number(stranger: Raw) -> None:
    await stranger.greet()

    stranger.say(b"no pickle", number=1)
    stranger.say(pickle.dumps(("echo",)), number=2)
    stranger.say(pickle.dumps(("echo", (), {})), number=3)

    outcomes = [pickle.loads(await stranger.read()) for _ in range(3)]
    assert [well for well, _ in outcomes] == [False, False, True]


# an impostor behind the door


async def test_a_caller_unpickles_nothing_of_one_who_does_not_know_the_secret(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb"
    heard = b""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal heard
        nonce = secrets.token_bytes(NONCE)
        writer.write(HEAD.pack(NONCE, 0) + nonce)
        heard = await reader.readexactly(HEAD.size + doors.GREETING)
        said = heard[HEAD.size :]
        for body in (said[NONCE:], pickle.dumps(Bomb(bomb))):  # its own proof again, then the bomb
            writer.write(HEAD.pack(len(body), 1) + body)
        await reader.read()

    async with impostor(talk) as door, direct(door) as calls:
        with pytest.raises(NoDoor):
            await calls.call("echo", (), {})

    assert not bomb.exists()
    assert door.secret not in heard, "the secret itself does not travel"
    assert hmac.digest(door.secret, b"", "sha256") not in heard


@pytest.mark.parametrize("nonce", [b"", b"x", b"x" * 64, b"x" * 65])
async def test_a_caller_answers_no_strange_nonce(nonce: bytes) -> None:
    said: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD.pack(len(nonce), 0) + nonce)
        said.append(await reader.read())

    async with impostor(talk) as door, direct(door) as calls:
        with pytest.raises(NoDoor):
            await calls.call("echo", (), {})
        await until(lambda: bool(said))

    assert said == [b""]


async def test_a_caller_does_not_wait_for_one_who_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.direct.PATIENCE", 0.1)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with impostor(talk) as door, direct(door) as calls:
        with pytest.raises(NoDoor, match="TimeoutError"):
            await calls.call("echo", (), {})
