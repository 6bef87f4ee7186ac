"""What a run remembers from one turn of its session to the next."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import BaseModel

from agents import Agent, Background, Context, MemoryConflict, Mode, Realtime
from agents.errors import StepError
from agents.testing import Crash, Host, Session

MODES = pytest.mark.parametrize("mode", list(Mode))


class Talk(BaseModel):
    lines: list[str] = []
    turns: int = 0


class Said(BaseModel):
    text: str = "hi"


class Chatty(Agent[Said, Talk]):
    """Remembers what was said."""

    name = "chatty"
    realtime = Realtime()
    background = Background()

    async def run(self, ctx: Context, said: Said) -> Talk:
        talk: Talk = await ctx.memory.read(Talk) or Talk()
        talk = Talk(lines=[*talk.lines, said.text], turns=talk.turns + 1)
        await ctx.memory.write(talk)
        return await ctx.step("after", lambda: talk)


class Insistent(Chatty):
    """The same, and tries again where somebody else was first."""

    name = "insistent"
    first: Any = None

    async def run(self, ctx: Context, said: Said) -> Talk:
        while True:
            talk: Talk = await ctx.memory.read(Talk) or Talk()
            talk = Talk(lines=[*talk.lines, said.text], turns=talk.turns + 1)
            await ctx.step("think", self.think)
            try:
                await ctx.memory.write(talk)
            except MemoryConflict:
                continue
            return talk

    def think(self) -> None:
        first, self.first = self.first, None
        if first is not None:
            first()


@MODES
async def test_each_turn_goes_on_from_the_one_before(mode: Mode) -> None:
    session = Session("s1")

    first = await Host(Chatty(), mode=mode, session=session).run(Said(text="a"))
    second = await Host(Chatty(), mode=mode, session=session).run(Said(text="b"))

    assert (first.lines, second.lines) == (["a"], ["a", "b"])
    assert (session.version, session.value) == (2, {"lines": ["a", "b"], "turns": 2})


@MODES
async def test_without_a_session_a_run_remembers_nothing_of_the_one_before(mode: Mode) -> None:
    for _ in range(2):
        assert (await Host(Chatty(), mode=mode).run(Said())).turns == 1


async def test_without_a_session_a_run_remembers_what_it_wrote() -> None:
    class Twice(Agent[Said, int]):
        name = "twice"
        background = Background()

        async def run(self, ctx: Context, said: Said) -> int:
            assert ctx.session is None
            await ctx.memory.write(1)
            await ctx.step("between", lambda: None)
            await ctx.memory.write(await ctx.memory.read() + 1)
            return int(await ctx.memory.read(int)) + ctx.memory.version

    host = Host(Twice())
    with pytest.raises(Crash):
        await host.run(Said(), crash_after="between")

    assert await host.run() == 4


@pytest.mark.parametrize("where", ["memory read", "memory write", "after"])
@pytest.mark.parametrize("before", [True, False])
async def test_a_turn_is_remembered_once_wherever_it_crashes(where: str, before: bool) -> None:
    session = Session("s1", {"lines": ["old"], "turns": 1})
    host = Host(Chatty(), session=session)
    with pytest.raises(Crash):
        await host.run(Said(text="new"), crash_before=where if before else None, crash_after=where)

    assert (await host.run()).lines == ["old", "new"]
    assert (session.version, session.value) == (2, {"lines": ["old", "new"], "turns": 2})


async def test_a_turn_is_remembered_once_where_steps_are_kept_for_the_exit() -> None:
    class Lazy(Chatty):
        name = "lazy"
        background = Background(durability="exit")

    session = Session()
    host = Host(Lazy(), session=session)
    with pytest.raises(Crash):
        await host.run(Said(text="a"), crash_after="after")

    assert (await host.run()).lines == ["a"]
    assert session.value["turns"] == 1


async def test_a_replay_sees_what_the_run_had_read() -> None:
    session = Session("s1", {"lines": [], "turns": 7})
    host = Host(Chatty(), session=session)
    with pytest.raises(Crash):
        await host.run(Said(), crash_after="memory write")
    session.put({"lines": ["other"], "turns": 100})

    assert (await host.run()).turns == 8
    assert session.value["turns"] == 100


async def test_what_another_run_wrote_meanwhile_is_a_conflict_and_stays() -> None:
    class Slow(Chatty):
        name = "slow"

        async def run(self, ctx: Context, said: Said) -> Talk:
            await ctx.memory.read(Talk)
            session.put({"lines": ["theirs"], "turns": 1})
            await ctx.memory.write(Talk(lines=["mine"]))
            raise AssertionError

    session = Session("s1")
    host = Host(Slow(), session=session)

    for _ in range(2):
        with pytest.raises(MemoryConflict, match=r"written in session .s1. since this one read version 0"):
            await host.run(Said())
    assert session.value["lines"] == ["theirs"]


async def test_whoever_reads_again_after_a_conflict_loses_nothing_wherever_it_crashes() -> None:
    for where in ("memory read#1", "memory write#0", "think#1", "memory write#1"):
        session, agent = Session("s1"), Insistent()
        agent.first = lambda session=session: session.put({"lines": ["theirs"], "turns": 1})
        host = Host(agent, session=session)
        with pytest.raises(Crash):
            await host.run(Said(text="mine"), crash_after=where)

        assert (await host.run()).lines == ["theirs", "mine"]
        assert session.value == {"lines": ["theirs", "mine"], "turns": 2}


async def test_a_write_that_was_not_preceded_by_a_read_is_for_a_session_that_has_nothing() -> None:
    class Blind(Agent[Said, None]):
        name = "blind"
        realtime = Realtime()

        async def run(self, ctx: Context, said: Said) -> None:
            await ctx.memory.write(said.text)

    await Host(Blind(), mode=Mode.REALTIME, session=(session := Session())).run(Said())
    assert session.value == "hi"
    with pytest.raises(MemoryConflict):
        await Host(Blind(), mode=Mode.REALTIME, session=session).run(Said())


@dataclass
class Plain:
    seen: set[str] = field(default_factory=set)


@pytest.mark.parametrize("value", [None, 0, "text", [1, {"a": None}], Plain({"x"}), Talk(turns=3)])
async def test_what_has_a_json_form_can_be_remembered(value: Any) -> None:
    class Keeping(Agent[Said, None]):
        name = "keeping"
        realtime = Realtime()

        async def run(self, ctx: Context, said: Said) -> None:
            found.append((await ctx.memory.read(type(value)), ctx.memory.version, ctx.session))
            await ctx.memory.write(value)

    found: list[Any] = []
    session = Session("s1")
    for _ in range(2):
        await Host(Keeping(), mode=Mode.REALTIME, session=session).run(Said())

    assert found == [(None, 0, "s1"), (value, 1, "s1")]


async def _refused(run: Any, session: Session) -> str:
    class Wrong(Agent[Said, None]):
        name = "wrong"
        realtime = Realtime()

        async def run(self, ctx: Context, said: Said) -> None:
            await run(ctx)

    with pytest.raises(StepError) as refused:
        await Host(Wrong(), mode=Mode.REALTIME, session=session).run(Said())
    return str(refused.value)


async def test_what_cannot_be_remembered_is_refused_and_named() -> None:
    assert "no JSON form" in await _refused(lambda ctx: ctx.memory.write(object()), Session())
    assert "NaN" in await _refused(lambda ctx: ctx.memory.write({"x": float("nan")}), Session())
    other = await _refused(lambda ctx: ctx.memory.read(Talk), Session("s", {"turns": "many"}))
    assert "does not fit Talk" in other
    assert "default" in other


async def test_memory_is_for_between_steps() -> None:
    async def inside(ctx: Context) -> None:
        await ctx.step("think", ctx.memory.read)

    assert "is done inside of step 'think#0'" in await _refused(inside, Session())
