"""That a live run is told as it happens, and that its last event is its last."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agents import Realtime
from agents.artifacts import FolderArtifacts
from agents.catalog import load
from deployments import sse, streaming
from deployments.replica import Links, Replica

from .acting import Act
from .driving import Answer, Call, ask, events_in, living
from .ledgers import Unreachable

STREAM = {"Accept": "text/event-stream"}


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Replica]:
    entry = load("tests.deployments.acting:Act")
    policy, links = Realtime(deadline=0.5), Links(Unreachable(), Unreachable())
    app = Replica(entry, entry.agent(), policy, partial(FolderArtifacts, tmp_path), links)
    Act.cancelled.clear()
    async with living(app):
        yield app


def order(do: str, text: str = "") -> bytes:
    return json.dumps({"do": do, "text": text}).encode()


async def told(app: Replica, do: str, text: str = "") -> Answer:
    return await ask(app, "POST", "/run", order(do, text), headers=STREAM)


async def test_everything_that_happens_is_told_in_order(app: Replica) -> None:
    answer = await told(app, "talk", "word")

    assert answer.status == 200
    assert answer.headers["cache-control"] == "no-store"
    assert "task-id" in answer.headers
    assert [event["seq"] for event in answer.events] == list(range(6))
    assert {event["attempt"] for event in answer.events} == {1}
    assert [(event["type"], event.get("step"), event["data"]) for event in answer.events] == [
        ("attempt.started", None, {}),
        ("progress", None, {"message": "first", "data": None}),
        ("text.delta", "speak#0", {"text": "word"}),
        ("step.completed", "speak#0", {}),
        ("text.delta", None, {"text": "last"}),
        ("output", None, {"output": {"text": "WORD"}}),
    ]


async def test_an_event_is_told_before_the_run_ends(app: Replica) -> None:
    call = Call(app, "POST", "/run", order("sleep"), headers=STREAM)
    await call.start()

    seen = b""
    while b"asleep" not in seen:
        seen += await call.chunk()

    assert not call.task.done()
    call.leave()


@pytest.mark.parametrize(
    ("do", "status", "step"),
    [("give_up", 500, None), ("later", 503, None), ("crash", 500, None), ("crash_in_step", 500, "divide#0")],
)
async def test_a_run_that_fails_says_so_last(app: Replica, do: str, status: int, step: str | None) -> None:
    last = (await told(app, do, "why")).events[-1]

    assert last["type"] == "failed"
    assert last["data"]["error"]["status"] == status
    assert last["data"]["error"]["step"] == step
    assert last["data"]["error"]["detail"]


async def test_the_deadline_ends_a_stream_whatever_the_run_still_says(app: Replica) -> None:
    events = (await told(app, "deaf")).events

    assert [event["type"] for event in events[-1:]] == ["failed"]
    assert events[-1]["data"]["error"]["type"] == "/problems/deadline"
    assert [event["seq"] for event in events] == list(range(len(events)))


async def test_a_body_that_is_no_input_is_a_problem_and_not_a_stream(app: Replica) -> None:
    answer = await ask(app, "POST", "/run", b"{", headers=STREAM)

    assert answer.problem["status"] == 400


async def test_silence_is_filled_with_comments(app: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "HEARTBEAT", 0.05)

    answer = await told(app, "wait_between", "0.3")

    assert answer.body.count(sse.BEAT) >= 3
    assert [event["type"] for event in answer.events] == ["attempt.started", "progress", "output"]


def test_silence_is_filled_in_under_five_seconds() -> None:
    assert sse.HEARTBEAT < 5


async def test_a_run_waits_for_a_reader_who_falls_behind(app: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "AHEAD", 10)
    call = Call(app, "POST", "/run", order("chatter", "100"), headers=STREAM)
    call.reading.clear()
    await asyncio.sleep(0.1)

    ahead = len(Act.cancelled)
    call.reading.set()
    await call.task

    assert 10 <= ahead <= 15
    events = events_in(b"".join([await call.chunk() for _ in range(call.sent.qsize())]))
    assert [event["seq"] for event in events] == list(range(102))


@pytest.mark.slow
async def test_a_reader_who_never_reads_is_left_in_the_end(app: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "LINGER", 0.1)
    call = Call(app, "POST", "/run", order("chatter", "1000"), headers=STREAM)
    await call.start()
    call.reading.clear()

    await asyncio.wait([call.task], timeout=5)

    assert call.task.done()
    assert isinstance(call.task.exception(), TimeoutError)
    assert app.abandoned == 0
    assert not _tasks()


def _tasks() -> list[Any]:
    """Tasks of a run that are left."""
    return [task for task in asyncio.all_tasks() if "_compute" in repr(task) or "_tell" in repr(task)]
