"""Nobody takes more room than there is: who does not read, or asks too much at once, waits or is shown out."""

from __future__ import annotations

import asyncio
import pickle
import secrets

import pytest

from cluster import door as doors
from cluster.door import NONCE, Door, proof
from cluster.frames import HEAD

from .desk import HOST, Desk, Raw, direct, impostor, until


@pytest.mark.slow
async def test_who_takes_no_answers_is_not_read_any_more(stranger: Raw, desk: Desk) -> None:
    await stranger.greet()
    size, asked = 2**20, 200
    question = pickle.dumps(("fill", (size, bytes(50_000)), {}))  # so that few of them arrive together

    for number in range(asked):
        stranger.say(question, number)
    await asyncio.sleep(0.3)
    begun = len(desk.called)
    answers = [await stranger.read() for _ in range(asked)]

    assert begun < asked / 2
    assert len(desk.called) == asked, "and it goes on once they are taken"
    assert {len(pickle.loads(answer)[1]) for answer in answers} == {size}


async def test_who_takes_no_answers_holds_only_so_much(
    stranger: Raw, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doors, "LARGEST", 20 * 2**20)
    await stranger.greet()
    (visit,) = desk.doorway.visits

    question = pickle.dumps(("fill", (2**20,), {}))
    stranger.writer.write(b"".join(HEAD.pack(len(question), number) + question for number in range(200)))

    await until(lambda: not desk.doorway.visits)
    assert not visit.open
    assert len(desk.called) == 200, "what was read was done"


async def test_only_so_many_calls_of_one_are_in_progress(
    stranger: Raw, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doors, "AT_ONCE", 3)
    await stranger.greet()

    for number in range(3):
        stranger.say(pickle.dumps(("wait", (number,), {})), number)
    await until(lambda: len(desk.called) == 3)
    stranger.say(pickle.dumps(("wait", (3,), {})), 3)
    await asyncio.sleep(0.05)
    begun = list(desk.called)
    desk.gate.set()
    answers = [pickle.loads(await stranger.read()) for _ in range(4)]

    assert begun == [0, 1, 2]
    assert sorted(answers) == [(True, number) for number in range(4)]


@pytest.mark.slow
async def test_a_caller_waits_while_the_door_does_not_read() -> None:
    secret = secrets.token_bytes(32)
    reading = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonce = secrets.token_bytes(NONCE)
        writer.write(HEAD.pack(NONCE, 0) + nonce)
        said = (await reader.readexactly(HEAD.size + doors.GREETING))[HEAD.size :]
        body = proof(secret, b"door", nonce + said[:NONCE])
        writer.write(HEAD.pack(len(body), 0) + body)
        await reading.wait()
        while True:
            size, number = HEAD.unpack(await reader.readexactly(HEAD.size))
            await reader.readexactly(size)
            answer = pickle.dumps((True, number))
            writer.write(HEAD.pack(len(answer), number) + answer)

    async with impostor(talk) as place, direct(Door(HOST, place.port, secret)) as calls:
        asking = [asyncio.create_task(calls.call("echo", (bytes(2**20),), {})) for _ in range(60)]
        await asyncio.sleep(0.3)
        assert calls.connection is not None
        buffered = calls.connection.transport.get_write_buffer_size()
        for task in asking[30:]:
            task.cancel()
        reading.set()
        answers = await asyncio.gather(*asking[:30])

    assert buffered < 20 * 2**20
    assert sorted(answers) == list(range(1, 31)), "those who left while they waited have sent nothing"
