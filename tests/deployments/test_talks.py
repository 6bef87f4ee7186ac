"""Turns of a session over HTTP: each goes on from the one before, here or in the background."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from cluster.ledger import Ledger
from cluster.sessions import Memory
from cluster.task import Filter
from deployments.replica import Replica

from .driving import Answer, Call, ask
from .ledgers import Unreachable
from .talkers import Talker
from .talking import Make, ledger, make
from .whole import whole

pytestmark = pytest.mark.slow

__all__ = ["ledger", "make"]


async def say(app: Replica, text: str, session: str | None = "s1", **headers: str) -> Answer:
    query = "" if session is None else f"?session={quote(session)}"
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await ask(app, "POST", f"/run{query}", json.dumps({"text": text}).encode(), headers=named)


async def test_each_turn_goes_on_from_the_one_before_on_any_replica(make: Make, ledger: Ledger) -> None:
    one, other = make(), make()

    assert (await say(one, "a")).json == {"lines": ["a"]}
    assert (await say(other, "b")).json == {"lines": ["a", "b"]}
    assert (await say(one, "c", "s2")).json == {"lines": ["c"]}
    assert (await say(one, "d", None)).json == {"lines": ["d"]}
    assert await ledger.memory("", "talker", "s1") == Memory(2, '{"lines":["a","b"]}')


async def test_of_two_turns_at_once_one_is_saved_and_the_other_is_told(make: Make, ledger: Ledger) -> None:
    one, other = make(), make()
    first, second = (asyncio.create_task(say(app, f"wait {app is one}")) for app in (one, other))
    while len(Talker.began) < 2:
        await asyncio.sleep(0.002)
    Talker.gate.set()

    answers = sorted([await first, await second], key=lambda answer: answer.status)

    assert [answer.status for answer in answers] == [200, 409]
    assert answers[1].problem["type"] == "/problems/memory-conflict"
    memory = await ledger.memory("", "talker", "s1")
    assert (memory.version, json.loads(memory.value or "")) == (1, answers[0].json)


async def test_a_turn_that_leaves_keeps_its_session(make: Make, ledger: Ledger) -> None:
    app = make()
    await say(app, "a")

    answer = await say(app, "promote", prefer="respond-async")

    assert answer.status == 202
    assert answer.json["session"] == "s1"
    assert [task.id for task in await ledger.tasks("", Filter(session="s1"), None, 9)] == [answer.json["id"]]
    steps = await ledger.steps("", answer.json["id"])
    assert steps is not None
    assert [json.loads(step.value) for step in steps] == [{"version": 1, "value": {"lines": ["a"]}}]


async def test_answers_are_kept_for_each_session_apart(make: Make) -> None:
    app = make("Cached")

    answers = [await say(app, "a", session) for session in ("s1", "s2", None, "s1")]

    assert [answer.headers["answer"] for answer in answers] == ["full", "full", "full", "cached"]


async def test_a_key_belongs_to_its_session(make: Make) -> None:
    app = make()

    one, other = [await say(app, "a", session, idempotency_key="k") for session in ("s1", "s2")]

    assert one.headers["task-id"] != other.headers["task-id"]


@pytest.mark.parametrize("session", ["", "x" * 256, "é" * 128, "x" * 5000, "a\tb", "a\nb", "\x7f", "\u202e"])
async def test_what_cannot_be_a_sessions_id_is_refused(make: Make, session: str) -> None:
    answer = await say(make(), "a", session)

    assert answer.status == 400
    assert answer.problem["type"] == "/problems/invalid-session"
    assert Talker.began == []


@pytest.mark.parametrize("query", ["sesion=1", "session=1&session=2", "session=%00", "session=%ff"])
async def test_a_query_that_does_not_fit_is_refused(make: Make, query: str) -> None:
    answer = await ask(make(), "POST", f"/run?{query}", b"{}")

    assert answer.status in (400, 422)
    assert answer.problem
    assert Talker.began == []


@pytest.mark.parametrize("session", ["x" * 255, "a b", "é" * 127, "a/b?c=d&e", "日本"])
async def test_what_can_be_printed_is_a_sessions_id(make: Make, session: str) -> None:
    assert (await say(make(), "a", session)).status == 200


async def test_without_a_ledger_a_turn_of_a_session_is_refused_and_others_are_answered(make: Make) -> None:
    app = make(of=Unreachable())

    assert (await say(app, "a", None)).status == 200
    refused = await say(app, "a")
    assert (refused.status, refused.problem["type"]) == (503, "/problems/unavailable")


async def test_a_turn_is_answered_when_it_is_saved(make: Make, ledger: Ledger) -> None:
    app = make()
    call = Call(app, "POST", "/run?session=s1", b'{"text":"a"}')

    await asyncio.wait_for(call.task, 5)

    assert (await ledger.memory("", "talker", "s1")).version == 1


def test_one_session_goes_on_here_in_the_background_and_where_a_run_has_moved(tmp_path: Path) -> None:
    with whole(tmp_path, [Talker]) as rubato, httpx.Client(base_url=rubato.url, timeout=10) as http:
        run, takes = "/v1/agents/talker/run?session=s1", {"Prefer": "respond-async"}
        live = http.post(run, json={"text": "live"})
        moved = http.post(run, json={"text": "promote"}, headers=takes)
        assert (live.status_code, moved.status_code) == (200, 202)
        ended = [http.get(moved.headers["location"], headers={"Prefer": "wait=10"}).json()]
        given = {"agent": "talker", "input": {"text": "background"}, "options": {"session": "s1"}}
        ended.append(http.post("/v1/tasks", json=given, headers={"Prefer": "wait=10"}).json())

        again = http.post(run, json={"text": "live again"})

        assert again.json() == {"lines": ["live", "promote", "background", "live again"]}
        assert [(task["state"], task["session"], task["attempts"]) for task in ended] == [("completed", "s1", 1)] * 2
        listed = http.get("/v1/tasks?session=s1").json()["items"]
        assert [task["id"] for task in listed] == [ended[1]["id"], ended[0]["id"]]
