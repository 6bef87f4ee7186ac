"""A whole job over a pool in memory: what is recorded, what is held, and that a death anywhere changes neither."""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployments.job import flow as flows
from deployments.job.chunks import chunks
from deployments.job.errors import JobStopped
from deployments.job.gateway import Counts
from deployments.job.lines import Line, read_lines

from .pools import Job, Pool

LINES = [
    *('{"n": 1}', '{"n": 2}', "", "nope", '{"n": 5}', '{"m": 6}', '{"n": 7}', '{"n": 8}\r', '{"n": 9}', "[]"),
    *(f'{{"n": {n}}}' for n in range(11, 24)),
]
GOOD = [n for n in range(1, 24) if n not in (3, 4, 6, 7, 10, 17)]
BAD = [4, 6, 7, 10, 17]  # 7 and 17 are tasks that fail


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is waited for at length."""
    monkeypatch.setattr(flows, "PAUSES", (0.001, 0.001))


def job(folder: Path, **how: Any) -> Job:
    made = Job(folder, **how)
    made.input.write_text("\n".join(LINES))
    return made


@pytest.mark.parametrize("order", ["input", "completion"])
async def test_every_line_gets_one_record_in_its_file(tmp_path: Path, order: str) -> None:
    made, pool = job(tmp_path, order=order), Pool()

    flow = await made.run(pool)

    assert [record["line"] for record in made.outputs()] == GOOD
    assert [record["output"] for record in made.outputs()] == [{"n": n} for n in GOOD]
    assert sorted(record["line"] for record in made.failures()) == BAD
    assert {record["line"]: record["error"]["type"] for record in made.failures()} == {
        4: "malformed_json",
        6: "invalid_input",
        7: "permanent",
        10: "invalid_input",
        17: "permanent",
    }
    assert [record["id"] is None for record in made.failures()] == [
        record["line"] in (4, 6, 10) for record in made.failures()
    ]
    assert (flow.tally.completed, flow.tally.failed, flow.tally.sent) == (len(GOOD), len(BAD), 0)
    assert b'{"n":1.0}' in made.out.read_bytes()  # as the agent wrote it


async def test_the_errors_are_in_the_order_of_the_input_too(tmp_path: Path) -> None:
    made = job(tmp_path)

    await made.run(Pool())

    assert [record["line"] for record in made.failures()] == BAD


async def test_an_input_without_lines_makes_an_output_without_lines(tmp_path: Path) -> None:
    made = Job(tmp_path)
    made.input.write_bytes(b"\n\r\n  \n")

    await made.run(Pool())

    assert made.out.read_bytes() == b""
    assert not made.errors.exists()


async def test_results_that_break_off_are_read_again_and_recorded_once(tmp_path: Path) -> None:
    made, pool = job(tmp_path), Pool()
    pool.breaks = 3

    await made.run(pool)

    assert [record["line"] for record in made.outputs()] == GOOD


async def test_in_completion_order_a_slow_line_holds_up_nobody(tmp_path: Path) -> None:
    slow = asyncio.Event()
    made, pool = job(tmp_path, order="completion"), Pool(lambda n: n == 1 and not slow.is_set())
    with made.flow(pool) as flow, made.input.open("rb") as file:
        running = asyncio.create_task(flow.run(chunks(read_lines(file), 5)))
        while flow.tally.completed < len(GOOD) - 1:
            await asyncio.sleep(0.001)
        before = [record["line"] for record in made.outputs()]
        slow.set()
        await running

    assert before == GOOD[1:]
    assert [record["line"] for record in made.outputs()] == [*GOOD[1:], 1]


async def test_in_input_order_a_slow_line_is_waited_for(tmp_path: Path) -> None:
    slow = asyncio.Event()
    made, pool = job(tmp_path), Pool(lambda n: n == 8 and not slow.is_set())
    with made.flow(pool) as flow, made.input.open("rb") as file:
        running = asyncio.create_task(flow.run(chunks(read_lines(file), 5)))
        while len(pool.accepted) < 19:
            await asyncio.sleep(0.001)
        slow.set()
        await running

    assert [record["line"] for record in made.outputs()] == GOOD


class Source:
    """Lines without end, and how many of them were asked for."""

    def __init__(self) -> None:
        self.read = 0

    def __iter__(self) -> Iterator[Line]:
        for number in itertools.count(1):
            self.read = number
            text = b'{"n": %d}' % number
            yield Line(number, text, len(text))


@pytest.mark.slow
@pytest.mark.parametrize("order", ["input", "completion"])
async def test_what_is_held_is_bounded_by_a_count_however_long_nothing_ends(tmp_path: Path, order: str) -> None:
    """Nothing ends until thousands of turns of the loop are over; then all do, and the rest is let in as they go."""
    over = asyncio.Event()
    made, pool, source = Job(tmp_path, order=order, batch=50), Pool(lambda n: not over.is_set()), Source()
    made.input.write_text('{"n": 1}\n' * 5000)
    with made.flow(pool, window=500) as flow:
        running = asyncio.create_task(flow.run(chunks(itertools.islice(source, 5000), 50)))
        while len(pool.accepted) < 500 and not running.done():
            await asyncio.sleep(0.001)
        for _ in range(200):
            await asyncio.sleep(0.001)
        held = (flow.window.held, source.read, len(pool.accepted))
        over.set()
        await running

    assert held == (500, 550, 500)  # one chunk is read, and waits for room
    assert flow.window.most == 500
    assert len(made.outputs()) + len(made.failures()) == 5000


async def test_bad_lines_that_wait_for_their_turn_take_room_as_well(tmp_path: Path) -> None:
    made, pool = Job(tmp_path, batch=5), Pool(lambda n: True)
    lines = ['{"n": 1}', *["bad"] * 1000]
    made.input.write_text("\n".join(lines))
    read = iter(enumerate(lines, 1))
    with made.flow(pool, window=20) as flow:
        running = asyncio.create_task(flow.run(chunks((Line(n, text.encode(), len(text)) for n, text in read), 5)))
        for _ in range(200):
            await asyncio.sleep(0.001)
        held, left = flow.window.held, len(list(read))
        running.cancel()
        await asyncio.wait([running])

    assert held == 20
    assert left == len(lines) - 25


async def test_with_strict_the_first_bad_line_ends_the_job_and_is_named(tmp_path: Path) -> None:
    made, pool = job(tmp_path), Pool()

    with pytest.raises(JobStopped, match=r"line 4: .*not JSON.*--strict"):
        await made.run(pool, strict=True)
    with pytest.raises(JobStopped, match="line 4"):
        await made.run(pool, strict=True)
    await made.run(pool)

    assert [record["line"] for record in made.outputs()] == GOOD


async def test_tasks_that_are_gone_end_the_job(tmp_path: Path) -> None:
    made, pool = job(tmp_path), Pool()

    async def counts(batch: str) -> Counts:
        return Counts(1, 1)

    pool.counts = counts  # type: ignore[method-assign]
    with pytest.raises(JobStopped, match="of lines 1 to 5 tasks are gone"):
        await made.run(pool)


class Killed(BaseException):
    """The process is no more."""


class Death:
    """Comes with the nth event, and keeps what was on disk then: what a process of its own would have left."""

    def __init__(self, folder: Path, left: Path, at: int) -> None:
        self.folder, self.left = folder, left
        self.events = itertools.count()
        self.at = at

    def __call__(self, event: str) -> None:
        if next(self.events) == self.at:
            shutil.copytree(self.folder, self.left)
            raise Killed


@pytest.mark.parametrize("order", ["input", "completion"])
@pytest.mark.slow
async def test_a_driver_that_is_killed_anywhere_goes_on_without_losing_or_doubling_a_line(
    tmp_path: Path, order: str
) -> None:
    at = 0
    while True:
        begun, left = tmp_path / f"{at}", tmp_path / f"{at}-left"
        begun.mkdir()
        pool = Pool()
        pool.seen = Death(begun, left, at)
        with contextlib.suppress(Killed):
            await job(begun, order=order).run(pool, watched=True)
            break
        pool.seen = lambda event: None
        again = Job(left, order=order)

        await again.run(pool)

        assert sorted(record["line"] for record in again.outputs()) == GOOD, at
        assert sorted(record["line"] for record in again.failures()) == BAD, at
        if order == "input":
            assert [record["line"] for record in again.outputs()] == GOOD, at
        assert pool.accepted == sorted([*GOOD, 7, 17]), at
        at += 1

    assert at > 60


async def test_a_job_that_was_canceled_takes_up_again_what_was_in_flight(tmp_path: Path) -> None:
    made, pool = job(tmp_path), Pool(lambda n: True)
    with made.flow(pool) as flow, made.input.open("rb") as file:
        running = asyncio.create_task(flow.run(chunks(read_lines(file), 5)))
        while len(pool.accepted) < 19:
            await asyncio.sleep(0.001)
        running.cancel()
        await asyncio.wait([running])
        await flow.end_sending()
        await flow.cancel()
    canceled = set(pool.canceled)
    pool.held = lambda n: False

    await made.run(pool)

    assert canceled == set(pool.batches) == set(pool.taken_up)
    assert pool.canceled == set()
    assert [record["line"] for record in made.outputs()] == GOOD
    pool.taken_up.clear()
    await made.run(pool)
    assert pool.taken_up == []


async def test_its_tasks_can_be_found_and_have_a_turn_of_their_own(tmp_path: Path) -> None:
    sent: list[dict[str, Any]] = []
    made, pool = job(tmp_path, priority=3, tags=["mine"]), Pool()
    submit = pool.submit

    async def submitting(key: str, body: bytes) -> str:
        sent.append(json.loads(body)["options"])
        return await submit(key, body)

    pool.submit = submitting  # type: ignore[method-assign]
    await made.run(pool)

    assert sent[0] == {"priority": 3, "tags": ["mine", "job-j1"], "limit_key": "job-j1"}


def test_lines_of_nothing_are_no_chunk() -> None:
    assert list(chunks(read_lines(io.BytesIO(b"\n\n")), 5)) == []
