"""Waits in a test host: sleeps, signals, calls and maps, with crashes at any of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pydantic import BaseModel, Field

from agents import (
    Agent,
    Background,
    ChildFailed,
    Context,
    Mode,
    NeedsBackground,
    Permanent,
    Progress,
    Retryable,
    SignalTimeout,
    StepOutcomeUnknown,
)
from agents.branches import Suspended
from agents.errors import InvalidInput, StepError, StepMismatch, UnknownAgent
from agents.testing import Crash, Host, Waiting
from agents.waits import SignalSent

Script = Callable[[Context], Awaitable[Any]]


class Scripted(Agent[None, Any]):
    """Does what the test says."""

    name = "scripted"

    def __init__(self, script: Script) -> None:
        self.script = script

    async def run(self, ctx: Context, _: None) -> Any:
        return await self.script(ctx)


class Part(BaseModel):
    """With an alias, so that what travels is not what the code says."""

    weight: int = Field(alias="Weight")


class Packed(BaseModel):
    label: str = Field(serialization_alias="Label", validation_alias="Label")
    weight: int


class Pack(Agent[Part, Packed]):
    name = "pack"

    def setup(self) -> None:
        self.ran = 0

    async def run(self, ctx: Context, part: Part) -> Packed:
        self.ran += 1
        if part.weight < 0:
            raise Permanent("it floats away")
        await ctx.step("wrap", lambda: part.weight)
        return Packed(Label=f"part {part.weight}", weight=part.weight)


def host(script: Script, **options: Any) -> Host[None, Any]:
    return Host(Scripted(script), **options)


async def waiting(host: Host[None, Any], **crash: Any) -> Waiting:
    with pytest.raises(Waiting) as found:
        await host.run(None, **crash)
    return found.value


def part(weight: int) -> Part:
    return Part(Weight=weight)


# sleep


async def test_a_sleep_waits_from_when_the_run_first_came_there() -> None:
    async def script(ctx: Context) -> str:
        await ctx.sleep(100)
        return "awake"

    sleeper = host(script)
    assert (await waiting(sleeper)).seconds == pytest.approx(100, abs=1)
    sleeper.advance(60)
    assert (await waiting(sleeper)).seconds == pytest.approx(40, abs=1)
    sleeper.advance(41)

    assert await sleeper.run() == "awake"
    assert sleeper.attempts == 1
    assert [str(record.id) for record in sleeper.journal] == ["sleep#0"]


async def test_finish_lets_the_time_pass() -> None:
    async def script(ctx: Context) -> int:
        for _ in range(3):
            await ctx.sleep(3600)
        return 3

    assert await host(script).finish(None) == 3


@pytest.mark.parametrize("seconds", [0, -5, True, "1", float("nan"), float("inf"), float("-inf"), 1e10])
async def test_only_a_number_of_seconds_up_to_a_year_can_be_slept(seconds: Any) -> None:
    async def script(ctx: Context) -> str:
        await ctx.sleep(seconds)
        return "awake"

    if isinstance(seconds, int) and not isinstance(seconds, bool):
        assert await host(script).run(None) == "awake"
    else:
        with pytest.raises(StepError, match=r"sleep#0.*at most a year"):
            await host(script).run(None)


async def test_a_replayed_sleep_may_be_given_other_seconds() -> None:
    """They often come from the clock."""
    asked = iter([100, 1])

    async def script(ctx: Context) -> str:
        await ctx.sleep(next(asked))
        return "awake"

    sleeper = host(script)
    await waiting(sleeper)
    sleeper.advance(101)

    assert await sleeper.run() == "awake"


# signal


async def test_signals_are_taken_in_order_one_a_wait_whenever_they_were_sent() -> None:
    async def script(ctx: Context) -> list[Any]:
        return [await ctx.signal("word") for _ in range(3)]

    listener = host(script)
    listener.send("word", "before")
    listener.send("other", "never")
    assert (await waiting(listener)).signals == ("word",)
    assert not listener._kept.ready, "no one waits for the other"
    listener.send("word", {"while": "waiting"})
    listener.send("word", None)

    assert await listener.run() == ["before", {"while": "waiting"}, None]


async def test_a_signal_that_comes_while_a_step_runs_goes_on_in_the_same_run() -> None:
    runs = 0

    async def script(ctx: Context) -> Any:
        nonlocal runs
        runs += 1

        async def work() -> str:
            listener.send("word", "while running")
            await asyncio.sleep(0.01)
            return "worked"

        return await asyncio.gather(ctx.signal("word"), ctx.step("work", work))

    listener = host(script)

    assert await listener.run(None) == ["while running", "worked"]
    assert runs == 1


async def test_a_payload_comes_as_the_type_that_was_asked_for() -> None:
    async def script(ctx: Context) -> int:
        found = await ctx.signal("part", returns=Part)
        assert isinstance(found, Part)
        return found.weight

    listener = host(script)
    listener.send("part", {"Weight": 3})
    assert await listener.run(None) == 3

    other = host(script)
    other.send("part", {"Weight": "heavy"})
    with pytest.raises(StepError, match=r"signal part#0.*not a Part.*Weight"):
        await other.run(None)


async def test_a_timeout_ends_the_wait_for_good() -> None:
    async def script(ctx: Context) -> str:
        try:
            return str(await ctx.signal("word", timeout=10))
        except TimeoutError:
            return await ctx.signal("word")  # type: ignore[no-any-return]

    listener = host(script)
    await waiting(listener)
    listener.advance(11)
    assert (await waiting(listener)).seconds is None
    listener.send("word", "late")

    assert await listener.run() == "late"


async def test_a_signal_that_is_there_is_taken_though_the_time_is_over() -> None:
    async def script(ctx: Context) -> Any:
        return await ctx.signal("word", timeout=10)

    listener = host(script)
    await waiting(listener)
    listener.send("word", "just")
    listener.advance(11)

    assert await listener.run() == "just"


async def test_a_timeout_that_nobody_catches_is_not_tried_again() -> None:
    async def script(ctx: Context) -> Any:
        return await ctx.signal("word", timeout=10)

    with pytest.raises(SignalTimeout, match="no signal 'word' came in time") as caught:
        await host(script).finish(None)
    assert isinstance(caught.value, Permanent)


async def test_two_keyed_waits_share_what_comes() -> None:
    async def script(ctx: Context) -> Any:
        return await asyncio.gather(ctx.signal("word", key="a"), ctx.signal("word", key="b"))

    listener = host(script)
    listener.send("word", 1)
    await waiting(listener)
    listener.send("word", 2)

    assert await listener.run() == [1, 2]


async def test_a_signal_that_a_cancelled_branch_would_have_taken_is_left_to_the_other() -> None:
    async def script(ctx: Context) -> Any:
        first = asyncio.create_task(ctx.signal("word", key="a"))
        second = asyncio.create_task(ctx.signal("word", key="b"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        listener.send("word", 1)  # both wake, and the first would take it
        first.cancel()
        return await second

    listener = host(script)

    assert await listener.run(None) == 1


async def test_signals_that_arrive_out_of_order_are_taken_in_order() -> None:
    async def script(ctx: Context) -> Any:
        async def work() -> None:
            live = listener._live
            assert live is not None
            for number in (2, 0, 1):
                live.hear(SignalSent(number, "word", str(number)))

        return [await asyncio.gather(*(ctx.signal("word", key=str(n)) for n in range(3)), ctx.step("work", work))]

    listener = host(script)

    assert await listener.run(None) == [[0, 1, 2, None]]


# once every branch waits


async def test_a_branch_that_works_goes_on_beside_one_that_waits() -> None:
    async def script(ctx: Context) -> Any:
        async with asyncio.TaskGroup() as group:
            group.create_task(ctx.sleep(1000))
            for number in range(5):
                group.create_task(ctx.step("work", asyncio.sleep, 0.01, key=str(number)))
        return "done"

    busy = host(script)
    await waiting(busy)

    assert sorted(busy.ran) == [f"work:{number}" for number in range(5)]
    busy.advance(1001)
    assert await busy.run() == "done"
    assert len(busy.ran) == 5


async def test_a_sleep_that_ends_beside_a_working_branch_goes_on_in_the_same_run() -> None:
    runs = 0

    async def script(ctx: Context) -> Any:
        nonlocal runs
        runs += 1

        async def nap() -> str:
            await ctx.sleep(0.01)
            return await ctx.step("after", lambda: "rested")

        return await asyncio.gather(nap(), ctx.step("work", asyncio.sleep, 0.1))

    assert await host(script).run(None) == ["rested", None]
    assert runs == 1


async def test_waiting_unwinds_past_except_exception_and_runs_finally() -> None:
    seen: list[str] = []

    async def script(ctx: Context) -> str:
        try:
            await ctx.sleep(10)
        except Exception:
            seen.append("except")
            raise
        finally:
            seen.append("finally")
        return "awake"

    sleeper = host(script)
    await waiting(sleeper)
    assert seen == ["finally"]
    assert await sleeper.finish() == "awake"
    assert "except" not in seen


@pytest.mark.parametrize("then", ["returns", "steps", "emits", "raises", "circles"])
async def test_code_that_swallows_the_wait_waits_all_the_same(then: str) -> None:
    ran: list[str] = []

    async def script(ctx: Context) -> str:
        try:
            await ctx.sleep(10)
        except BaseException as error:
            if not isinstance(error, Suspended):
                raise
            match then:
                case "steps":
                    await ctx.step("after", ran.append, "after")
                case "emits":
                    await ctx.emit(Progress(message="after"))
                case "raises":
                    raise ValueError("after") from None
                case "circles":
                    for _ in range(1000):
                        with pytest.raises(Suspended):
                            await ctx.sleep(1, key="again")
        return "swallowed"

    sleeper = host(script)
    await waiting(sleeper)

    assert ran == []
    assert sleeper.events == []
    assert [str(record.id) for record in sleeper.journal] == ["sleep#0"]


async def test_results_gathered_with_their_errors_do_not_hide_a_wait() -> None:
    async def script(ctx: Context) -> Any:
        results = await asyncio.gather(
            ctx.call(Pack, part(1), key="a"), ctx.call(Pack, part(-1), key="b"), return_exceptions=True
        )
        return [type(result).__name__ for result in results]

    caller = host(script, agents=[Pack()])
    await waiting(caller)

    assert await caller.finish() == ["Packed", "ChildFailed"]


async def test_a_run_that_awaits_something_else_while_all_branches_wait_is_ended() -> None:
    async def script(ctx: Context) -> str:
        ready = asyncio.Event()

        async def nap() -> None:
            await ctx.sleep(10)
            ready.set()

        task = asyncio.create_task(nap())
        await ready.wait()
        await task
        return "awake"

    sleeper = host(script)
    await waiting(sleeper)

    assert await sleeper.finish() == "awake"
    current = asyncio.current_task()
    assert current is not None
    assert current.cancelling() == 0


async def test_a_wait_that_a_failing_branch_cancels_is_not_waited_for() -> None:
    async def fail() -> None:
        raise ValueError("broken")

    async def script(ctx: Context) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(ctx.sleep(10))
            group.create_task(ctx.step("fail", fail))

    with pytest.raises(ExceptionGroup, match="unhandled"):
        await host(script).run(None)


async def test_what_a_run_leaves_waiting_does_not_hold_it_up() -> None:
    left: list[asyncio.Task[Any]] = []

    async def script(ctx: Context) -> str:
        left.append(asyncio.create_task(ctx.signal("never")))
        await asyncio.sleep(0)
        return "done"

    assert await host(script).run(None) == "done"
    await asyncio.wait(left)
    assert left[0].cancelled()


@pytest.mark.parametrize("wait", ["sleep", "signal", "call", "map"])
async def test_a_wait_inside_of_a_step_is_refused(wait: str) -> None:
    async def script(ctx: Context) -> Any:
        waits: dict[str, Callable[[], Any]] = {
            "sleep": lambda: ctx.sleep(1),
            "signal": lambda: ctx.signal("word"),
            "call": lambda: ctx.call(Pack, part(1)),
            "map": lambda: ctx.map(Pack, [part(1)]),
        }
        return await ctx.step("outer", waits[wait])

    with pytest.raises(StepError, match=rf"{wait}.*inside of step 'outer#0'"):
        await host(script, agents=[Pack()]).run(None)


async def test_two_waits_of_one_name_in_parallel_need_keys() -> None:
    async def script(ctx: Context) -> Any:
        return await asyncio.gather(ctx.sleep(1), ctx.sleep(2))

    with pytest.raises(StepError, match=r"parallel need a key="):
        await host(script).run(None)


@pytest.mark.parametrize("wait", ["sleep", "signal", "call", "map", "promote"])
async def test_in_real_time_a_wait_needs_the_background(wait: str) -> None:
    async def script(ctx: Context) -> Any:
        match wait:
            case "sleep":
                await ctx.sleep(1)
            case "signal":
                await ctx.signal("word")
            case "call":
                await ctx.call(Pack, part(1))
            case "map":
                await ctx.map(Pack, [part(1)])
            case "promote":
                await ctx.promote("worth a wider search")
        return "went on"

    with pytest.raises(NeedsBackground, match="submit it as a task"):
        await host(script, mode=Mode.REALTIME).run(None)
    if wait == "promote":
        assert await host(script).run(None) == "went on"


# call and map


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


async def test_a_map_gives_outputs_in_the_order_of_its_inputs() -> None:
    async def script(ctx: Context) -> Any:
        assert await ctx.map(Pack, []) == []
        return [each.weight for each in await ctx.map(Pack, map(part, range(5)))]

    caller = host(script, agents=[Pack()])
    assert len((await waiting(caller)).children) == 5

    assert await caller.finish() == list(range(5))
    assert list(caller.children) == [f"map pack#1/{n}" for n in range(5)]


async def test_a_parallel_map_has_so_many_in_flight_and_calls_more_when_half_have_ended() -> None:
    flights: list[int] = []

    async def script(ctx: Context) -> Any:
        return [each.weight for each in await ctx.map(Pack, map(part, range(10)), parallel=4)]

    caller = host(script, agents=[Pack()])
    with pytest.raises(Waiting):
        await caller.run(None)
    while True:
        open = caller._unfinished()
        flights.append(len(open))
        for child in open[:2]:
            await child._go_on()
            caller._heard_from(child)
            assert caller._kept.ready == ((child is open[1] and len(caller.children) < 10) or not caller._unfinished())
        try:
            assert await caller.run() == list(range(10))
        except Waiting:
            continue
        break

    assert flights == [4, 4, 4, 4, 2]
    assert list(caller.children) == [f"map pack#0/{n}" for n in range(10)]


async def test_a_failure_in_a_map_is_raised_when_all_have_ended() -> None:
    async def script(ctx: Context) -> Any:
        return await ctx.map(Pack, map(part, [1, -1, 2, -2]))

    caller = host(script, agents=[Pack()])
    with pytest.raises(ChildFailed) as caught:
        await caller.finish(None)

    assert caught.value.task_id == caller.children["map pack#0/1"].task_id
    assert all(child.outcome for child in caller.children.values())


async def test_a_failure_in_a_parallel_map_calls_no_more_and_is_the_same_in_a_replay() -> None:
    seen: list[str] = []

    async def script(ctx: Context) -> Any:
        try:
            await ctx.map(Pack, map(part, [1, -1, -2, 3, 4, 5]), parallel=3)
        except ChildFailed as error:
            seen.append(error.task_id)
        await ctx.sleep(1)
        return "went on"

    caller = host(script, agents=[Pack()])
    await waiting(caller)
    children = list(caller.children.values())
    for child in (children[0], children[2]):  # half of three, the later failure among them
        await child._go_on()
        caller._heard_from(child)
    await waiting(caller)
    await children[1]._go_on()
    caller._heard_from(children[1])
    caller.advance(2)

    assert await caller.run() == "went on"
    assert seen == [children[2].task_id] * 2
    assert len(caller.children) == 3


@pytest.mark.parametrize("parallel", [0, -1, 1.5, "two"])
async def test_a_map_refuses_what_it_cannot_do(parallel: Any) -> None:
    async def script(ctx: Context) -> Any:
        return await ctx.map(Pack, [part(1)], parallel=parallel)

    with pytest.raises(StepError, match="parallel must be a whole number"):
        await host(script, agents=[Pack()]).run(None)


async def test_a_map_has_a_limit() -> None:
    async def script(ctx: Context) -> Any:
        return await ctx.map("pack", range(10_001))

    with pytest.raises(StepError, match="at most 10000 inputs"):
        await host(script).run(None)


async def test_a_call_with_another_input_is_a_mismatch() -> None:
    weights = iter([1, 2])

    async def script(ctx: Context) -> Any:
        return await ctx.call(Pack, part(next(weights)))

    caller = host(script, agents=[Pack()])
    with pytest.raises(StepMismatch, match="call pack#0"):
        await caller.finish(None)


# once, and durability


async def test_a_step_that_may_run_once_never_runs_again() -> None:
    charged: list[int] = []

    async def script(ctx: Context) -> str:
        await ctx.step("charge", charged.append, 5, once=True)
        await ctx.step("thank", lambda: None)
        return "done"

    lucky = host(script)
    with pytest.raises(Crash):
        await lucky.run(None, crash_before="thank")
    assert await lucky.run() == "done"

    unlucky = host(script)
    with pytest.raises(Crash):
        await unlucky.run(None, crash_before="charge")
    for _ in range(2):
        with pytest.raises(StepOutcomeUnknown, match=r"charge#0.*look up where it acts"):
            await unlucky.run()
    assert charged == [5, 5]


async def test_a_step_that_may_run_once_and_raised_does_not_run_again_either() -> None:
    tries = 0

    async def script(ctx: Context) -> None:
        def charge() -> None:
            nonlocal tries
            tries += 1
            raise ValueError("declined")

        try:
            await ctx.step("charge", charge, key="k", once=True)
        except ValueError:
            await ctx.step("charge", charge, key="k", once=True)

    with pytest.raises(StepOutcomeUnknown, match="charge:k"):
        await host(script).run(None)
    assert tries == 1


async def test_in_real_time_a_step_that_may_run_once_simply_runs() -> None:
    async def script(ctx: Context) -> int:
        return await ctx.step("charge", lambda: 5, once=True)

    assert await host(script, mode=Mode.REALTIME).run(None) == 5


def lax(durability: Any, script: Script) -> Host[None, Any]:
    class Lax(Scripted):
        background = Background(durability=durability)

    return Host(Lax(script), agents=[Pack()])


@pytest.mark.parametrize("durability", ["batched", "exit"])
async def test_what_was_not_flushed_goes_with_a_crash(durability: str) -> None:
    async def script(ctx: Context) -> str:
        await ctx.step("a", lambda: 1)
        await ctx.sleep(10)
        await ctx.step("b", lambda: 2)
        await ctx.emit(Progress(message="b"))
        await ctx.step("c", lambda: 3)
        return "done"

    task = lax(durability, script)
    with pytest.raises(Crash):
        await task.finish(None, crash_after="b")
    assert [str(record.id) for record in task.journal] == ["a#0", "sleep#0"]

    assert await task.finish() == "done"
    assert task.ran == ["a#0", "b#0", "b#0", "c#0"]
    assert len(task.events) == 1


@pytest.mark.parametrize("flushes", ["once", "call"])
async def test_what_went_before_a_call_or_a_step_that_may_run_once_is_flushed_with_it(flushes: str) -> None:
    async def script(ctx: Context) -> str:
        await ctx.step("a", lambda: 1)
        if flushes == "once":
            await ctx.step("b", lambda: 2, once=True)
        else:
            await ctx.call(Pack, part(1))
        return "done"

    task = lax("exit", script)
    with pytest.raises(Crash):
        await task.run(None, crash_after="b" if flushes == "once" else "call pack")

    assert [str(record.id) for record in task.journal] == ["a#0"]


# crashes


class Order(Agent[int, list[str]]):
    """Waits in every way."""

    name = "order"

    async def run(self, ctx: Context, parts: int) -> list[str]:
        await ctx.emit(Progress(message="accepted"))
        plan = await ctx.step("plan", lambda: list(range(parts)))
        async with asyncio.TaskGroup() as group:
            approved = group.create_task(ctx.signal("approved", timeout=60))
            checked = group.create_task(self.check(ctx))
        packed = await ctx.map(Pack, [part(n) for n in plan], parallel=2)
        await ctx.sleep(3600, key="cool down")
        last = await ctx.call(Pack, part(99))
        return [approved.result(), checked.result(), *(each.label for each in packed), last.label]

    async def check(self, ctx: Context) -> str:
        await ctx.sleep(5)
        return await ctx.step("check", lambda: "checked")


PLACES = [
    "plan#0",
    "signal approved until#0",
    "signal approved#0",
    "sleep#0",
    "check#0",
    "map pack#0/0",
    "map pack#0/3",
    "sleep:cool down",
    "call pack#0",
]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("when", ["crash_before", "crash_after"])
async def test_a_crash_at_any_wait_changes_nothing(when: str, place: str) -> None:
    agent = Pack()
    order = Host(Order(), agents=[agent])
    order.send("approved", "yes")

    with pytest.raises(Crash):
        await order.finish(4, **{when: place})  # type: ignore[arg-type]

    assert await order.finish() == ["yes", "checked", "part 0", "part 1", "part 2", "part 3", "part 99"]
    assert agent.ran == 5
    assert len(order.children) == 5
    assert order.attempts == 2
    assert [event.type for event in order.events] == ["progress"]
