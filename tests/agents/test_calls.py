"""A call is a task of another agent: made once, with its own attempts, and heard of however it ends."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from agents import Agent, Background, ChildFailed, Context, Retryable
from agents.errors import InvalidInput, StepError, StepMismatch, UnknownAgent
from agents.testing import Host, Waiting

from .scripted import Pack, Packed, host, part, waiting


async def test_a_call_gives_the_output_of_another_task_as_its_type() -> None:
    async def script(ctx: Context) -> Any:
        packed = await ctx.call(Pack, part(2))
        assert isinstance(packed, Packed)
        return packed.label

    agent = Pack()
    caller = host(script, agents=[agent])
    assert (await waiting(caller)).children == ("call pack#0",)

    assert await caller.finish() == "part 2"
    child = caller.children["call pack#0"]
    assert (child.ran, child.task_id != caller.task_id, agent.ran) == (["wrap#0"], True, 1)
    assert [json.loads(record.value) for record in caller.journal] == [{"output": {"Label": "part 2", "weight": 2}}]


async def test_a_call_by_name_is_plain_json_or_what_is_asked_for() -> None:
    async def script(ctx: Context) -> Any:
        plain = await ctx.call("pack", {"Weight": 1})
        typed = await ctx.call("pack", {"Weight": 1}, returns=Packed)
        return [plain, typed.label]

    assert await host(script, agents=[Pack()]).finish(None) == [{"Label": "part 1", "weight": 1}, "part 1"]


async def test_an_input_that_does_not_fit_is_refused_before_anything_is_called() -> None:
    async def script(ctx: Context) -> Any:
        unfit: Any = {"weight": "much"}
        return await ctx.call(Pack, unfit)

    caller = host(script, agents=[Pack()])
    with pytest.raises(InvalidInput, match="not an input of agent 'pack'") as caught:
        await caller.run(None)
    assert any("Weight" in problem for problem in caught.value.problems)
    assert caller.children == {}


async def test_an_input_by_name_that_does_not_fit_fails_the_child() -> None:
    async def script(ctx: Context) -> Any:
        return await ctx.call("pack", {"Weight": "much"})

    with pytest.raises(ChildFailed, match="not an input of agent 'pack'"):
        await host(script, agents=[Pack()]).finish(None)


@pytest.mark.parametrize(
    ("agent", "error", "match"),
    [
        ("nobody", UnknownAgent, "no agent 'nobody'"),
        ("Not A Name", StepError, "an agent's class or its name"),
        (3, StepError, "an agent's class or its name"),
        (Pack(), StepError, "an agent's class or its name"),
    ],
)
async def test_who_is_called_must_be_there(agent: Any, error: type[Exception], match: str) -> None:
    async def script(ctx: Context) -> Any:
        return await ctx.call(agent, 1)

    with pytest.raises(error, match=match):
        await host(script).run(None)


async def test_a_child_that_fails_says_so_with_its_error() -> None:
    async def script(ctx: Context) -> Any:
        try:
            await ctx.call(Pack, part(-1))
        except ChildFailed as error:
            return [error.task_id, error.agent, error.error["type"], error.error["detail"], str(error)]

    caller = host(script, agents=[Pack()])
    child_id, agent, kind, detail, text = await caller.finish(None)

    assert (child_id, agent) == (caller.children["call pack#0"].task_id, "pack")
    assert (kind, detail) == ("permanent", "it floats away")
    assert "Permanent: it floats away" in text


async def test_a_child_has_attempts_of_its_own() -> None:
    class Flaky(Agent[int, int]):
        name = "flaky"
        background = Background(max_attempts=3)

        async def run(self, ctx: Context, last: int) -> int:
            await ctx.step("work", lambda: 1)
            if ctx.attempt < last:
                raise Retryable("not yet")
            return ctx.attempt

    async def script(ctx: Context) -> Any:
        first = await ctx.call(Flaky, 3)
        try:
            await ctx.call(Flaky, 4)
        except ChildFailed as error:
            return [first, error.error["attempt"]]

    caller = host(script, agents=[Flaky()])

    assert await caller.finish(None) == [3, 3]
    assert caller.attempts == 1
    assert caller.children["call flaky#0"].ran == ["work#0"]


async def test_calls_in_parallel_run_beside_each_other() -> None:
    async def script(ctx: Context) -> Any:
        packed = await asyncio.gather(*(ctx.call(Pack, part(n), key=str(n)) for n in range(3)))
        return [each.weight for each in packed]

    caller = host(script, agents=[Pack()])
    assert (await waiting(caller)).children == ("call pack:0", "call pack:1", "call pack:2")

    assert await caller.finish() == [0, 1, 2]


async def test_a_child_may_sleep_and_be_sent_signals_and_call_on() -> None:
    class Slow(Agent[int, str]):
        name = "slow"

        async def run(self, ctx: Context, depth: int) -> str:
            if depth:
                return await ctx.call(Slow, depth - 1)
            await ctx.sleep(3600)
            return str(await ctx.signal("word"))

    async def script(ctx: Context) -> Any:
        return await ctx.call(Slow, 2)

    caller = host(script, agents=[Slow()])
    with pytest.raises(Waiting):
        await caller.finish(None)
    grandchild = caller.children["call slow#0"].children["call slow#0"].children["call slow#0"]
    grandchild.send("word", "go")

    assert await caller.finish() == "go"


async def test_calls_of_calls_go_sixteen_deep_and_no_deeper() -> None:
    class Deep(Agent[int, int]):
        name = "deep"

        async def run(self, ctx: Context, left: int) -> int:
            return 1 + await ctx.call(Deep, left - 1) if left else 0

    assert await Host(Deep()).finish(16) == 16
    with pytest.raises(ChildFailed, match="at most 16 deep"):
        await Host(Deep()).finish(17)


async def test_a_call_with_another_input_is_a_mismatch() -> None:
    weights = iter([1, 2])

    async def script(ctx: Context) -> Any:
        return await ctx.call(Pack, part(next(weights)))

    caller = host(script, agents=[Pack()])
    with pytest.raises(StepMismatch, match="call pack#0"):
        await caller.finish(None)
