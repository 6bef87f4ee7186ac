"""What the runs of a session remember, over the ledger."""

from __future__ import annotations

import asyncio
import json
import random

import pytest

from agents import Context, Permanent
from agents.memory import State
from cluster.errors import Unavailable
from cluster.keepers import ENVELOPE, SessionKeeper
from cluster.sessions import Memory
from cluster.task import extra_json

from .direct import Direct, opened, ticking
from .links import MemoryLink
from .making import submission, task
from .test_worker_on_ledger import ended, worker
from .workers import Given, working

SESSION = ("", "scripted", "s1")


async def test_a_keeper_reads_what_another_wrote_and_tells_a_conflict() -> None:
    link = MemoryLink()
    one, other = SessionKeeper(link, SESSION), SessionKeeper(link, SESSION)

    assert await one.read() == State(0, None)
    assert await one.write(0, '"a"', "w1") == 1
    assert await other.read() == State(1, '"a"')
    assert await other.write(0, '"b"', "w2") is None
    assert await one.write(0, '"a"', "w1") == 1  # sent again
    assert await SessionKeeper(link, ("t", "scripted", "s1")).read() == State(0, None)


async def test_a_state_over_the_limit_is_refused_and_the_way_is_named() -> None:
    keeper = SessionKeeper(MemoryLink(), SESSION)
    most = 2**20 - ENVELOPE

    assert await keeper.write(0, json.dumps("x" * (most - 2)), "w") == 1
    with pytest.raises(
        Permanent, match=r"the state of session 's1' is \d+ bytes, and the limit is \d+; .*ctx.artifact"
    ):
        await keeper.write(1, json.dumps("x" * (most - 1)), "w")


async def test_a_caller_is_told_at_once_that_the_ledger_is_away_and_an_attempt_waits_for_it() -> None:
    class Away(MemoryLink):
        tries = 0

        async def memory(self, tenant: str, agent: str, session: str) -> Memory:
            self.tries += 1
            if self.tries < 5:
                raise Unavailable("away")
            return await super().memory(tenant, agent, session)

    with pytest.raises(Unavailable):
        await SessionKeeper(Away(), SESSION).read()
    assert await SessionKeeper(Away(), SESSION, pauses=lambda: iter([0.0] * 9)).read() == State()


async def counted(ctx: Context, given: Given) -> int:
    count = 1 + (await ctx.memory.read(int) or 0)
    await ctx.memory.write(count)
    return count


async def test_a_task_of_a_session_goes_on_from_the_one_before() -> None:
    link = MemoryLink()
    async with working(link, counted):
        rows = [link.submit(extra=extra_json(session="s1"))]
        await link.ended(*rows)
        rows += [link.submit(extra=extra) for extra in (extra_json(session="s1"), extra_json(session="s2"), None)]
        await link.ended(*rows)

    assert [row.verdicts[-1].output for row in rows] == ["1", "2", "1", "1"]
    assert rows[0].steps == ["memory read#0", "memory write#0"]
    assert rows[3].steps == []  # without a session there is nothing to record


async def test_turns_are_counted_once_though_calls_are_lost() -> None:
    """A write whose answer is lost is sent again, and done once."""
    dice = random.Random(11)
    async with ticking(await opened()) as ledger:
        workers = [worker("w0", Direct(ledger, dice.random), counted)]
        runs = [asyncio.create_task(each.run()) for each in workers]
        outputs = []
        for _ in range(20):
            one = task(agent="scripted", input='{"n": 1}', extra=extra_json(session="s1"))
            await ledger.submit(submission(one))
            (done,) = await ended(ledger, (one.id,))
            outputs.append(done.output)
        for each in workers:
            each._link.roll = lambda: 1.0  # type: ignore[attr-defined]
            await each.stop()
        await asyncio.gather(*runs)

        assert outputs == [str(n) for n in range(1, 21)]
        assert await ledger.memory(*SESSION) == Memory(20, "20")
