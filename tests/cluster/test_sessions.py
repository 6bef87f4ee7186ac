"""What a session remembers: written by compare-and-set, and never half."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from cluster.errors import Conflict, Unavailable
from cluster.ledger import Ledger
from cluster.sessions import Memory, Session, succeed

from .callers import opened, running
from .making import ManualClock


def session(version: int, value: str = "0", writer: str = "") -> Session:
    return Session("", "support", "s", version, value, writer, 5.0)


@pytest.mark.parametrize(
    ("stored", "new", "then"),
    [
        (None, session(0, "a"), session(1, "a")),
        (session(1, "a"), session(1, "b"), session(2, "b")),
        (session(2, "b", "w"), session(1, "b", "w"), session(2, "b", "w")),  # sent again
        (session(2, "b", "w"), session(2, "c", "w"), session(3, "c", "w")),  # not again: it follows from itself
        (session(2, "b", "w"), session(1, "b", "x"), None),
        (session(2, "b", ""), session(1, "b", ""), None),
        (session(3, "b", "w"), session(1, "b", "w"), None),
        (None, session(1, "a"), None),
        (session(1, "a"), session(2, "b"), None),
    ],
)
def test_a_write_follows_from_the_newest_version(stored: Session | None, new: Session, then: Session | None) -> None:
    if then is None:
        with pytest.raises(Conflict, match=f"follows from version {new.version}"):
            succeed(stored, new)
    else:
        assert succeed(stored, new) == then


@pytest.fixture
async def ledger() -> AsyncIterator[Ledger]:
    async with running(await opened(), ManualClock()) as ledger:
        yield ledger


async def test_a_session_remembers_what_was_written_last(ledger: Ledger) -> None:
    assert await ledger.memory("", "support", "s") == Memory(0, None)

    first = await ledger.remember("", "support", "s", 0, '"a"')
    second = await ledger.remember("", "support", "s", first.version, '"b"')

    assert (first, second) == (Memory(1, '"a"'), Memory(2, '"b"'))
    assert await ledger.memory("", "support", "s") == second


@pytest.mark.parametrize("other", [("t", "support", "s"), ("", "other", "s"), ("", "support", "s2")])
async def test_sessions_of_others_are_others(ledger: Ledger, other: tuple[str, str, str]) -> None:
    await ledger.remember("", "support", "s", 0, "1")

    assert await ledger.memory(*other) == Memory()
    assert await ledger.remember(*other, 0, "2") == Memory(1, "2")


async def test_of_writes_at_once_that_follow_from_one_version_one_is_done(ledger: Ledger) -> None:
    writes = [ledger.remember("", "support", "s", 0, str(n), f"w{n}") for n in range(9)]

    outcomes = await asyncio.gather(*writes, return_exceptions=True)

    done = [outcome for outcome in outcomes if isinstance(outcome, Memory)]
    assert done == [Memory(1, "0")]
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 8
    assert await ledger.memory("", "support", "s") == done[0]


async def test_a_write_that_is_sent_again_changes_nothing(ledger: Ledger) -> None:
    first = await ledger.remember("", "support", "s", 0, '"a"', "w1")

    assert await ledger.remember("", "support", "s", 0, '"a"', "w1") == first
    assert await ledger.memory("", "support", "s") == first


async def test_nothing_is_lost_by_those_who_read_again_after_a_conflict(ledger: Ledger) -> None:
    async def count(writer: int) -> None:
        for turn in range(20):
            done = False
            while not done:
                memory = await ledger.memory("", "support", "s")
                value = json.dumps(json.loads(memory.value or "0") + 1)
                try:
                    await ledger.remember("", "support", "s", memory.version, value, f"{writer} {turn}")
                    done = True
                except Conflict:
                    continue

    await asyncio.gather(*(count(writer) for writer in range(5)))

    assert await ledger.memory("", "support", "s") == Memory(100, "100")


async def test_a_write_is_answered_when_it_is_durable() -> None:
    store = await opened()
    async with running(store, ManualClock()) as ledger:
        await ledger.remember("", "support", "s", 0, "1")
        store.down = True

        with pytest.raises(Unavailable):
            await ledger.remember("", "support", "s", 1, "2")

        store.down = False
        assert await ledger.memory("", "support", "s") == Memory(1, "1")
        assert await ledger.remember("", "support", "s", 1, "2") == Memory(2, "2")
