"""agents.testing: an agent crashed at any step, as often as you like, ends as if nothing had happened."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from agents import Agent, Artifact, Context, Mode, Progress, Retryable, TextDelta
from agents.errors import InvalidOutput, StepMismatch
from agents.testing import Crash, Host


class Topic(BaseModel):
    text: str
    rounds: int = 2
    attachment: Artifact | None = None


@dataclass(frozen=True)
class Part:
    title: str
    at: datetime


class Paper(BaseModel):
    parts: list[Part]
    pages: dict[str, str]
    text: str
    notes: set[str]
    kept: Artifact


class Researcher(Agent[Topic, Paper]):
    """Steps of every kind: plain and async, in a loop, in parallel by both means, one in another, one that may fail."""

    name = "researcher"

    def setup(self) -> None:
        self.ran: Counter[str] = Counter()

    async def run(self, ctx: Context, topic: Topic) -> Paper:
        await ctx.emit(Progress(message="started"))
        parts = await ctx.step("plan", self.plan, topic.text)
        pages = await asyncio.gather(*(ctx.step("read", self.read, part, key=part.title) for part in parts))
        draft = ""
        for _ in range(topic.rounds):
            draft = await ctx.step("write", self.write, draft, pages)
            await ctx.emit(TextDelta(text=draft[-1:]))
        async with asyncio.TaskGroup() as group:
            notes = group.create_task(self.notes(ctx, draft))
            kept = group.create_task(ctx.step("keep", self.keep(ctx), draft))
        await ctx.emit(Progress(message="done", data=len(draft)))
        return Paper(
            parts=parts,
            pages=dict(zip([part.title for part in parts], pages, strict=True)),
            text=draft,
            notes=notes.result(),
            kept=kept.result(),
        )

    def plan(self, text: str) -> list[Part]:
        self.ran["plan#0"] += 1
        return [Part(word, datetime(2030, 1, number, tzinfo=UTC)) for number, word in enumerate(text.split(), start=1)]

    async def read(self, part: Part) -> str:
        self.ran[f"read:{part.title}"] += 1
        await asyncio.sleep(0)
        return part.title[::-1]

    def write(self, draft: str, pages: list[str]) -> str:
        self.ran[f"write#{draft.count('.')}"] += 1
        return f"{draft}{'-'.join(pages)}."

    async def notes(self, ctx: Context, draft: str) -> set[str]:
        async def outer() -> set[str]:
            self.ran["notes#0"] += 1
            words = await ctx.step("words", self.words, draft, key="of the draft")
            return set(words)

        return await ctx.step("notes", outer)

    def words(self, draft: str) -> list[str]:
        self.ran["words:of the draft"] += 1
        return draft.replace("-", " ").replace(".", " ").split()

    def keep(self, ctx: Context) -> Callable[[str], Any]:
        async def keep(draft: str) -> Artifact:
            self.ran["keep#0"] += 1
            return await ctx.artifact(draft.encode(), name="draft.txt")

        return keep


TOPIC = Topic(text="red green blue")
STEPS = [
    "plan#0",
    "read:red",
    "read:green",
    "read:blue",
    "write#0",
    "write#1",
    "words:of the draft",
    "notes#0",
    "keep#0",
]


def attempt(host: Host[Topic, Paper], **crash: Any) -> Paper | None:
    """The output, or None for a crash; each attempt has a loop of its own, as each process has."""
    try:
        return asyncio.run(host.run(TOPIC, **crash))
    except Crash:
        return None


def told(host: Host[Topic, Paper]) -> list[tuple[str, str]]:
    return [(event.type, event.data) for event in host.events if not event.step]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all artifacts of this file: they are the same, and each is synced to disk only once."""
    return tmp_path_factory.mktemp("artifacts")


@pytest.fixture(scope="module")
def calm(folder: Path) -> Host[Topic, Paper]:
    """A run without any crash."""
    host = Host(Researcher(), folder=folder)
    assert attempt(host) is not None
    return host


def test_a_run_without_a_crash_takes_each_step_once(calm: Host[Topic, Paper]) -> None:
    assert sorted(calm.ran) == sorted(STEPS)
    assert calm.agent.ran == Counter(STEPS)  # type: ignore[attr-defined]
    assert len(calm.journal) == len(STEPS)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("when", ["crash_before", "crash_after"])
def test_a_crash_at_any_step_changes_nothing(calm: Host[Topic, Paper], when: str, step: str) -> None:
    agent = Researcher()
    host = Host(agent)

    crashed = attempt(host, **{when: step})
    output = attempt(host)

    assert crashed is None
    assert output == attempt(calm)
    assert told(host) == told(calm)
    assert agent.ran[step] == (2 if when == "crash_before" else 1)


Crashes = st.lists(st.tuples(st.sampled_from(["crash_before", "crash_after"]), st.sampled_from(STEPS)), max_size=8)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(Crashes)
def test_any_row_of_crashes_changes_nothing(
    calm: Host[Topic, Paper], folder: Path, crashes: list[tuple[str, str]]
) -> None:
    agent = Researcher()
    host = Host(agent, folder=folder)

    for when, step in crashes:
        recorded = {str(record.id): record for record in host.journal}
        ran = Counter(agent.ran)
        attempt(host, **{when: step})
        assert recorded.items() <= {str(record.id): record for record in host.journal}.items()
        assert all(agent.ran[each] == ran[each] for each in recorded)  # no recorded step ran again
    output = attempt(host)

    assert output == attempt(calm)
    assert told(host) == told(calm)
    assert {(record.id, record.digest) for record in host.journal} == {
        (record.id, record.digest) for record in calm.journal
    }


class Dice(Agent[None, list[float]]):
    name = "dice"

    async def run(self, ctx: Context, _: None) -> list[float]:
        return [await ctx.step("roll", random.random) for _ in range(3)]


@pytest.mark.parametrize("mode", Mode)
async def test_what_chance_decided_stays_decided(mode: Mode) -> None:
    host = Host(Dice(), mode=mode)
    with pytest.raises(Crash, match="after roll#1"):
        await host.run(None, crash_after="roll#1")
    recorded = [json.loads(record.value) for record in host.journal]

    rolled = await host.run(None)

    assert rolled[:2] == recorded
    assert host.ran == ["roll#0", "roll#1", "roll#2"]
    assert await host.run(None) == rolled
    assert host.attempts == 3


async def test_a_name_crashes_at_its_first_step_that_is_not_recorded() -> None:
    host = Host(Dice())

    for number in range(3):
        with pytest.raises(Crash, match=f"before roll#{number}"):
            await host.run(None, crash_before="roll")
        with pytest.raises(Crash, match=f"after roll#{number}"):
            await host.run(None, crash_after="roll")

    assert host.ran == ["roll#0", "roll#0", "roll#1", "roll#1", "roll#2", "roll#2"]
    assert len(await host.run(None, crash_after="roll")) == 3


class Clinging(Agent[None, str]):
    """Does what it can to live on after its process died."""

    name = "clinging"

    async def run(self, ctx: Context, _: None) -> str:
        try:
            await ctx.step("work", str)
        except BaseException:
            await ctx.emit(Progress(message="I am well"))
            await ctx.step("clean up", str)
            raise
        finally:
            for _again in range(2):
                await asyncio.gather(ctx.emit(Progress(message="still")), return_exceptions=True)
        return "done"


async def test_nothing_is_recorded_or_told_after_a_crash() -> None:
    host = Host(Clinging())

    with pytest.raises(Crash, match="after work#0"):
        await host.run(None, crash_after="work")

    assert [str(record.id) for record in host.journal] == ["work#0"]
    assert host.events == []


class Swallowing(Agent[None, str]):
    name = "swallowing"

    async def run(self, ctx: Context, _: None) -> str:
        results = await asyncio.gather(ctx.step("a", lambda: 1), ctx.step("b", lambda: 2), return_exceptions=True)
        return f"{len(results)}"


async def test_an_agent_that_swallows_the_crash_has_crashed_all_the_same() -> None:
    host = Host(Swallowing())

    with pytest.raises(Crash, match="before a#0"):
        await host.run(None, crash_before="a")

    assert await host.run(None) == "2"


async def test_a_crash_in_a_task_group_is_a_crash() -> None:
    host = Host(Researcher())

    with pytest.raises(Crash, match="before keep#0"):
        await host.run(TOPIC, crash_before="keep")


class Reader(Agent[Topic, int]):
    name = "reader"

    async def run(self, ctx: Context, topic: Topic) -> int:
        assert topic.attachment is not None
        return await ctx.step("read", lambda given: len(given.read()), topic.attachment)


async def test_a_file_is_put_where_the_run_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    path.write_bytes(b"twelve bytes")
    host = Host(Reader(), folder=tmp_path / "artifacts")

    attachment = host.put(path, "text/plain")

    assert (attachment.name, attachment.media_type, attachment.size) == ("note.txt", "text/plain", 12)
    assert await host.run(Topic(text="", attachment=attachment)) == 12


class Wrong(Agent[int, int]):
    name = "wrong"

    async def run(self, ctx: Context, number: int) -> int:
        result: Any = "text" if number < 0 else number * 2
        return result  # type: ignore[no-any-return]


async def test_input_and_output_are_checked_as_a_host_does() -> None:
    host = Host(Wrong())

    assert await host.run(3) == 6
    with pytest.raises(ValidationError):
        await host.run("many")  # type: ignore[arg-type]
    with pytest.raises(InvalidOutput, match="returned str"):
        await Host(Wrong()).run(-1)


async def test_an_agent_that_strays_from_its_journal_is_told() -> None:
    counter = itertools.count()

    class Stray(Agent[None, int]):
        name = "stray"

        async def run(self, ctx: Context, _: None) -> int:
            await ctx.step("first", lambda: 1)
            return await ctx.step("second", abs, next(counter))

    host = Host(Stray())
    with pytest.raises(Crash):
        await host.run(None, crash_after="second")

    with pytest.raises(StepMismatch, match="second#0"):
        await host.run(None)


async def test_an_error_of_the_agents_own_comes_out_and_what_was_recorded_stays() -> None:
    class Busy(Agent[None, str]):
        name = "busy"

        async def run(self, ctx: Context, _: None) -> str:
            await ctx.step("first", lambda: 1)
            if ctx.attempt == 1:
                raise Retryable("busy", after=5)
            return f"attempt {ctx.attempt}"

    host = Host(Busy())
    with pytest.raises(Retryable, match="busy"):
        await host.run(None)

    assert await host.run(None) == "attempt 2"
    assert host.ran == ["first#0"]
