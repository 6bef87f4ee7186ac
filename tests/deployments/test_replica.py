"""That an agent's own application answers as it promises, whatever it is sent and whatever its agent does."""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from agents import Realtime
from agents.artifacts import FolderArtifacts
from agents.catalog import load
from agents.ids import derived_id
from cluster.client import LedgerClient
from cluster.limits import agent_key
from deployments.replica import Links, Replica

from .acting import Act
from .driving import Answer, Call, ask, living
from .ledgers import Unreachable, running_ledger

MIB = 1024 * 1024


def make(
    folder: Path, deadline: float = 5.0, ledger: LedgerClient | None = None, agent: str = "Act", slots: int = 64
) -> Replica:
    entry = load(f"tests.deployments.acting:{agent}")
    policy, links = Realtime(deadline=deadline, slots=slots), Links(ledger or Unreachable(), Unreachable())
    return Replica(entry, entry.agent(), policy, partial(FolderArtifacts, folder), links)


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Replica]:
    app = make(tmp_path)
    async with living(app):
        yield app
        Act.gate.set()


@pytest.fixture
async def hasty(tmp_path: Path) -> AsyncIterator[Replica]:
    """One whose callers wait a fifth of a second."""
    app = make(tmp_path, deadline=0.2)
    async with living(app):
        yield app
        Act.gate.set()


@pytest.fixture(autouse=True)
def _anew() -> None:
    Act.gate.clear()
    Act.cancelled.clear()


def order(do: str, text: str = "") -> bytes:
    return json.dumps({"do": do, "text": text}).encode()


async def run(app: Replica, do: str, text: str = "", **how: Any) -> Answer:
    return await ask(app, "POST", "/run", order(do, text), **how)


# what it answers


async def test_a_run_answers_with_its_output_and_its_id(app: Replica) -> None:
    answer = await run(app, "answer", "hello")

    assert (answer.status, answer.json) == (200, {"text": "hello"})
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["answer"] == "full"
    assert UUID(answer.headers["task-id"]).version == 7
    assert answer.headers["task-id"] != (await run(app, "answer")).headers["task-id"]


async def test_a_run_knows_who_and_where_it_is(app: Replica) -> None:
    answer = await run(app, "introduce")

    assert answer.json["text"] == f"realtime 1 {answer.headers['task-id']} True"


async def test_a_key_fixes_the_id(app: Replica) -> None:
    first, second, other = [
        (await run(app, "answer", headers={"Idempotency-Key": key})).headers["task-id"] for key in ("a", "a", "b")
    ]

    assert first == second == derived_id("", "/v1/agents/act/run", "a")
    assert other != first


@pytest.mark.parametrize("keys", [[""], ["x" * 256], ["a\x07b"], ["one", "two"]])
async def test_a_key_that_cannot_be_used_is_a_400(app: Replica, keys: list[str]) -> None:
    answer = await run(app, "answer", headers=[("Idempotency-Key", key) for key in keys])

    assert answer.problem["status"] == 400


async def test_a_body_in_pieces_is_one_body(app: Replica) -> None:
    answer = await ask(app, "POST", "/run", b'{"do": "ans', b'wer", "text": ', b'"whole"}')

    assert answer.json == {"text": "whole"}


async def test_artifacts_are_kept_and_read_within_a_run(app: Replica) -> None:
    assert (await run(app, "keep", "some bytes")).json == {"text": "some bytes"}


async def test_get_describes_the_agent(app: Replica) -> None:
    for path in ("", "/"):
        answer = await ask(app, "GET", path, root_path="/v1/agents/act")

        assert answer.status == 200
        assert answer.json["name"] == "act"
        assert answer.json["description"] == "Does as it is told."
        assert answer.json["modes"] == ["realtime", "background"]
        assert answer.json["input"]["properties"]["do"]["type"] == "string"
        assert answer.json["output"]["required"] == ["text"]
        assert answer.json["realtime"]["deadline"] == 5


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        *(("GET", "/run", 405), ("DELETE", "", 405), ("POST", "", 405)),
        *(("GET", "/pause", 405), ("PUT", "/resume", 405)),
        *(("GET", "/runs", 404), ("POST", "/run/", 404), ("POST", "/v1/agents/act/run", 404)),
    ],
)
async def test_every_other_route_is_a_problem(app: Replica, method: str, path: str, status: int) -> None:
    answer = await ask(app, method, path, root_path="/v1/agents/act")

    assert answer.problem["status"] == status
    assert (status == 405) == ("allow" in answer.headers)


async def test_a_pause_and_a_resume_of_its_tasks_reach_the_ledger(tmp_path: Path) -> None:
    async with running_ledger() as ledger:
        app = make(tmp_path, ledger=ledger)

        paused = await ask(app, "POST", "/pause", b'{"until": "2090-01-01T00:00:00Z"}')
        held = await ledger.limit(*agent_key("act"))
        endless = await ask(app, "POST", "/pause")
        forever = await ledger.limit(*agent_key("act"))
        resumed = await ask(app, "POST", "/resume", b"{}")
        free = await ledger.limit(*agent_key("act"))

    assert paused.json == {"agent": "act", "paused_until": "2090-01-01T00:00:00.000Z"}
    assert endless.json == {"agent": "act", "paused_until": "9999-01-01T00:00:00.000Z"}
    assert resumed.json == {"agent": "act", "paused_until": None}
    until = datetime(2090, 1, 1, tzinfo=UTC).timestamp()
    assert [limit.rule.paused_until for limit in (held, forever, free)] == [until, math.inf, None]


@pytest.mark.parametrize(
    ("route", "body", "status"),
    [
        ("/pause", b'{"until": "2020-01-01T00:00:00Z"}', 422),
        ("/pause", b'{"until": 5}', 422),
        ("/pause", b'{"untill": null}', 422),
        ("/pause", b"[]", 422),
        ("/pause", b"{", 400),
        ("/pause", b" " * 5000, 413),
        ("/resume", b'{"now": true}', 422),
    ],
)
async def test_a_pause_that_does_not_fit_is_refused(tmp_path: Path, route: str, body: bytes, status: int) -> None:
    async with running_ledger() as ledger:
        answer = await ask(make(tmp_path, ledger=ledger), "POST", route, body)

        assert answer.problem["status"] == status
        assert await ledger.limits("", "", 10) == []


async def test_a_pause_that_no_ledger_confirms_is_a_503(app: Replica) -> None:
    answer = await ask(app, "POST", "/pause")

    assert (answer.problem["status"], answer.headers["retry-after"]) == (503, "3")


async def test_an_agent_without_tasks_cannot_be_paused(tmp_path: Path) -> None:
    answer = await ask(make(tmp_path, agent="Warm"), "POST", "/pause")

    assert (answer.problem["status"], answer.problem["type"]) == (409, "/problems/realtime-only")


async def test_a_websocket_that_is_none_of_ours_is_refused_politely(app: Replica) -> None:
    sent: asyncio.Queue[Any] = asyncio.Queue()

    await app({"type": "websocket", "path": "/sesion"}, sent.get, sent.put)

    assert sent.get_nowait()["type"] == "websocket.close"


# bad input


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b'{"do": "answer"} more', 400),
        (b"\xff\xfe", 400),
        (b'{"text": "\\ud800"}', 400),
        (b'{"text": "\\u0000"}', 400),
        (b'{"text": NaN}', 400),
        (b"[" * 100_000, 400),
        (b"null", 422),
        (b'"text"', 422),
        (b'{"text": 1}', 422),
        (b'{"text": "x", "colour": "red"}', 422),
    ],
)
async def test_a_body_that_is_no_input_is_a_problem_and_never_a_run(app: Replica, body: bytes, status: int) -> None:
    answer = await ask(app, "POST", "/run", body)

    assert answer.problem["status"] == status
    assert "answer" not in answer.headers


async def test_what_does_not_fit_is_named(app: Replica) -> None:
    answer = await ask(app, "POST", "/run", b'{"text": 1, "colour": "red"}')

    assert [line.split(":")[0] for line in answer.problem["errors"]] == ["text", "colour"]


async def test_text_that_only_looks_like_nul_or_nan_is_an_input(app: Replica) -> None:
    text = "\\u0000 is NUL, NaN is no number, and Infinity has no end"

    assert (await run(app, "answer", text)).json == {"text": text}


@pytest.mark.parametrize("chunks", [[MIB + 1], [MIB, 1], [1] * 3 + [MIB]])
async def test_a_body_over_the_limit_is_a_413(app: Replica, chunks: list[int]) -> None:
    answer = await ask(app, "POST", "/run", *(b" " * size for size in chunks))

    assert answer.problem["status"] == 413


async def test_a_body_that_says_it_is_over_the_limit_is_refused_before_it_comes(app: Replica) -> None:
    call = Call(app, "POST", "/run", b" ", b" ", headers={"Content-Length": str(MIB + 1)})

    assert (await call.start())["status"] == 413


# what agents do


@pytest.mark.parametrize(
    ("do", "status", "said"),
    [
        ("give_up", 500, "some words"),
        ("crash_together", 500, "some words"),
        ("later", 503, "some words"),
        ("refuse", 422, "cannot be done"),
        ("busy", 429, "model has no room"),
        ("wrong_type", 500, "not a Done"),
        ("surrogate", 500, "not a Done"),
        ("too_much", 500, "1048576 bytes"),
        ("cancel_itself", 500, "cancelled its own run"),
        ("leave", 500, "SystemExit"),
        ("leave_in_step", 500, "RuntimeError"),
        ("crash_in_step", 500, "ZeroDivisionError"),
    ],
)
async def test_what_an_agent_does_wrong_is_a_problem_and_the_replica_lives(
    app: Replica, do: str, status: int, said: str
) -> None:
    answer = await run(app, do, "some words")

    assert answer.problem["status"] == status
    assert said in answer.problem["detail"]
    assert "task-id" in answer.headers
    assert (await run(app, "answer", "still here")).json == {"text": "still here"}


@pytest.mark.parametrize("what", ["sleep", "signal", "call", "map", "worth a wider search"])
async def test_what_only_the_background_can_wait_for_is_sent_there(app: Replica, what: str) -> None:
    answer = await run(app, "wait", what)

    assert (answer.status, answer.problem["type"]) == (409, "/problems/needs-background")
    assert what in answer.problem["detail"]
    assert answer.problem["detail"].endswith("submit it as a task.")


async def test_a_step_that_may_run_once_only_simply_runs(app: Replica) -> None:
    assert (await run(app, "once", "charged")).json == {"text": "CHARGED"}


async def test_when_to_come_back_is_said(app: Replica) -> None:
    assert (await run(app, "later")).headers["retry-after"] == "7"
    assert (await run(app, "busy")).headers["retry-after"] == "3"


async def test_what_an_agent_did_not_mean_to_say_stays_in_the_log(
    app: Replica, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await run(app, "crash", "my password")

    detail = answer.problem["detail"]
    reference = detail.rsplit(" ", 1)[-1].rstrip(".")
    assert "ValueError" in detail
    assert b"password" not in answer.body
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert reference in record.getMessage()
    assert record.exc_info
    assert "my password" in str(record.exc_info[1])


# the deadline, and callers who leave


async def test_at_the_deadline_the_caller_is_told_and_the_run_is_cancelled(hasty: Replica) -> None:
    answer = await run(hasty, "sleep", "overslept")

    assert answer.problem["status"] == 504
    assert answer.problem["type"] == "/problems/deadline"
    assert Act.cancelled == ["overslept"]


async def test_the_deadline_does_not_wait_for_a_plain_step(hasty: Replica) -> None:
    answer = await run(hasty, "hang")

    assert answer.problem["status"] == 504
    assert hasty.abandoned == 1
    Act.gate.set()
    while hasty.abandoned:
        await asyncio.sleep(0.01)


async def test_a_replica_whose_slots_all_hang_asks_to_be_replaced(tmp_path: Path) -> None:
    app = make(tmp_path, deadline=0.1, slots=2)
    async with living(app):
        await run(app, "hang")
        app.check_health()

        await run(app, "hang")

        with pytest.raises(RuntimeError, match="2 runs hang"):
            app.check_health()
        Act.gate.set()


async def test_a_caller_who_leaves_cancels_the_run(app: Replica) -> None:
    for headers in ({}, {"Accept": "text/event-stream"}):
        call = Call(app, "POST", "/run", order("sleep", "left"), headers=headers)
        await asyncio.sleep(0.05)

        call.leave()

        with pytest.raises(asyncio.CancelledError):
            await call.task
        await asyncio.sleep(0.01)
    assert Act.cancelled == ["left", "left"]
    assert app.abandoned == 0


async def test_a_plain_step_does_not_keep_others_waiting(app: Replica) -> None:
    slow = [Call(app, "POST", "/run", order("hang")) for _ in range(40)]
    await asyncio.sleep(0.05)

    assert (await run(app, "nap", "0.01")).json == {"text": "rested"}

    Act.gate.set()
    await asyncio.gather(*(call.task for call in slow))
    assert [(await call.start())["status"] for call in slow] == [200] * 40


async def test_shutdown_cancels_what_runs(tmp_path: Path) -> None:
    app = make(tmp_path)
    async with living(app):
        call = Call(app, "POST", "/run", order("sleep", "shut down"))
        await asyncio.sleep(0.05)

    assert Act.cancelled == ["shut down"]
    assert (await call.start())["status"] == 500
