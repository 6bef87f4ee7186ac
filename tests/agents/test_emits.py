"""What a run tells its listeners, and the time it has."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest

from agents import Context, Mode, Permanent, Progress, TextDelta, ToolCall
from agents.journal import Journal

from .given import Hit
from .making import Notes, context


async def run(ctx: Context) -> str:
    """Emits outside of steps, between them, and inside of one."""

    async def write() -> str:
        for text in ("one ", "two"):
            await ctx.emit(TextDelta(text=text))
        return "one two"

    await ctx.emit(Progress(message="started"))
    found = await ctx.step("search", lambda: ["a"])
    await ctx.emit(Progress(message="found", data=found))
    return await ctx.step("write", write)


async def test_emits_and_steps_keep_their_order() -> None:
    notes = Notes()

    await run(context(notes=notes))

    assert notes.order == ["progress", "search#0", "progress", "text.delta", "text.delta", "write#0"]
    assert [event.step for event in notes.events] == ["", "", "write#0", "write#0"]


async def test_emits_are_the_same_in_both_modes() -> None:
    told = []
    for mode in Mode:
        notes = Notes()
        await run(context(notes=notes, mode=mode))
        told.append([(event.type, event.step, event.data) for event in notes.events])

    assert told[0] == told[1]


async def test_a_replay_repeats_no_emit() -> None:
    journal, notes = Journal(), Notes()
    await run(context(journal))

    await run(context(journal, notes, emitted=2))

    assert notes.order == []


async def test_a_replay_tells_what_an_earlier_attempt_had_not_come_to() -> None:
    journal, notes = Journal(), Notes()
    await context(journal).step("search", lambda: ["a"])

    await run(context(journal, notes, emitted=1))

    assert notes.order == ["progress", "text.delta", "text.delta", "write#0"]
    assert json.loads(notes.events[0].data)["message"] == "found"


async def test_an_unrecorded_step_tells_all_of_it_again() -> None:
    """Its attempt tells the listener which deltas to discard; the new run of the step may say something else."""
    journal, first, second = Journal(), Notes(), Notes()
    ctx, words = context(journal, first), ["a", "b"]

    async def write(ctx: Context, fail: bool) -> None:
        for text in words:
            await ctx.emit(TextDelta(text=text))
        if fail:
            raise OSError

    with pytest.raises(OSError):  # noqa: PT011 - it has no message
        await ctx.step("write", lambda: write(ctx, True))
    again = context(journal, second)
    await again.step("write", lambda: write(again, False))

    assert first.order == ["text.delta", "text.delta"]
    assert second.order == ["text.delta", "text.delta", "write#0"]


async def test_emits_from_parallel_steps_say_which_step_they_are_of() -> None:
    notes = Notes()
    ctx = context(notes=notes)

    async def read(page: int) -> None:
        await asyncio.sleep(0)
        await ctx.emit(Progress(message=str(page)))

    await asyncio.gather(*(ctx.step("page", read, n, key=str(n)) for n in range(3)))

    assert {(event.step, json.loads(event.data)["message"]) for event in notes.events} == {
        ("page:0", "0"),
        ("page:1", "1"),
        ("page:2", "2"),
    }


@pytest.mark.parametrize(
    ("event", "type", "data"),
    [
        (Progress(), "progress", {"message": "", "data": None}),
        (
            Progress(message="found", data=Hit(text="a")),
            "progress",
            {"message": "found", "data": {"text": "a", "score": 0.5}},
        ),
        (TextDelta(text="ä\0"), "text.delta", {"text": "ä\0"}),
        (ToolCall(name="search", arguments={"q": 1}), "tool.call", {"name": "search", "arguments": {"q": 1}}),
        (ToolCall(name="clock"), "tool.call", {"name": "clock", "arguments": None}),
    ],
)
async def test_an_event_is_its_type_and_its_data_as_json(event: Any, type: str, data: dict[str, Any]) -> None:
    notes, before = Notes(), time.time()

    await context(notes=notes).emit(event)

    (told,) = notes.events
    assert (told.type, json.loads(told.data)) == (type, data)
    assert before <= told.at <= time.time()


async def test_an_authors_own_kind_of_event_keeps_its_fields() -> None:
    class Passage(Progress):
        source: str

    notes = Notes()

    await context(notes=notes).emit(Passage(message="found", source="a.md"))

    assert (notes.events[0].type, json.loads(notes.events[0].data)["source"]) == ("progress", "a.md")


async def test_what_is_no_event_is_refused() -> None:
    class Output(Progress):
        type: ClassVar[str] = "output"

    for event in ("text", {"type": "progress"}, Hit(text="a"), Output()):
        notes = Notes()
        with pytest.raises(Permanent, match="emit takes a Progress, a TextDelta or a ToolCall"):
            await context(notes=notes).emit(event)  # type: ignore[arg-type]
        assert notes.events == []


@pytest.mark.parametrize("event", [Progress(data=object()), TextDelta(text="\ud800")])
async def test_an_event_without_json_form_is_refused(event: Any) -> None:
    with pytest.raises(Permanent, match=f"a {event.type} event has no JSON form"):
        await context().emit(event)


async def test_a_run_knows_who_and_where_it_is() -> None:
    ctx = context(mode=Mode.REALTIME, task_id="t", attempt=3, tenant="acme")

    assert (ctx.mode, ctx.task_id, ctx.attempt, ctx.tenant) == (Mode.REALTIME, "t", 3, "acme")


async def test_the_deadline_is_a_moment_and_what_remains_runs_down_to_zero() -> None:
    before = datetime.now(UTC)
    ctx, over = context(timeout=100), context(timeout=0.001)
    await asyncio.sleep(0.005)

    assert before + timedelta(seconds=100) <= ctx.deadline <= datetime.now(UTC) + timedelta(seconds=100)
    assert 99 < ctx.remaining() < 100
    assert over.remaining() == 0.0
    assert over.deadline < datetime.now(UTC)
