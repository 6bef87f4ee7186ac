"""What stands before an application: nobody gets past it without a key that goes so far."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agents import Realtime
from agents.artifacts import FolderArtifacts
from agents.catalog import load
from agents.ids import derived_id
from cluster.ledger import Ledger
from cluster.limits import agent_key
from cluster.task import Filter
from deployments.access import CALLER
from deployments.guard import Guard, gateway_needs, replica_needs
from deployments.replica import Links, Replica
from deployments.verifier import Verifier

from .acting import Act, start_greeting
from .driving import Answer, ask, living
from .keys import bearer, made
from .ledgers import Direct, Unreachable, running_ledger


@pytest.fixture
async def ledger() -> AsyncIterator[Ledger]:
    async with running_ledger() as ledger:
        yield ledger


def replica(folder: Path, ledger: Any, *, opens: bool = False) -> Guard:
    entry = load("tests.deployments.acting:Act")
    link: Any = Direct(ledger) if isinstance(ledger, Ledger) else ledger
    policy, artifacts = Realtime(deadline=1.0, cache_ttl=60), partial(FolderArtifacts, folder)
    app = Replica(entry, entry.agent(), policy, artifacts, Links(ledger, link))
    return Guard(app, Verifier(ledger.keys_since, opens=opens), replica_needs)


@pytest.fixture
async def app(tmp_path: Path, ledger: Ledger) -> AsyncIterator[Guard]:
    await made(ledger)
    Act.gate.clear()
    async with living(app := replica(tmp_path, ledger)):
        yield app


async def run(app: Guard, do: str, key: str, **headers: str) -> Answer:
    body = f'{{"do": "{do}", "text": "hi"}}'.encode()
    return await ask(app, "POST", "/run", body, headers=bearer(key) | headers)


ROUTES = [("GET", ""), ("GET", "/"), ("POST", "/run"), ("POST", "/pause"), ("POST", "/resume"), ("GET", "/run")]


@pytest.mark.parametrize(("method", "path"), [*ROUTES, ("POST", "/nowhere"), ("PUT", "")])
async def test_no_route_of_a_replica_answers_without_a_key(app: Guard, method: str, path: str) -> None:
    for headers in ({}, bearer("rbt_wrong")):
        answer = await ask(app, method, path, b'{"do": "answer"}', headers=headers)

        assert (answer.status, answer.problem["type"]) == (401, "/problems/no-access")
        assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    ("scopes", "tenant", "path", "status"),
    [
        ("run", "", "/run", 200),
        ("submit", "", "/run", 403),
        ("admin", "", "/run", 403),
        ("run submit", "", "/pause", 403),
        ("run submit admin", "acme", "/pause", 403),
        ("admin", "", "/pause", 200),
        ("run submit", "", "/resume", 403),
        ("admin", "", "/resume", 200),
    ],
)
async def test_a_key_goes_as_far_as_its_scopes(
    app: Guard, ledger: Ledger, scopes: str, tenant: str, path: str, status: int
) -> None:
    key = await made(ledger, tenant, scopes)
    await app._verifier.look()

    answer = await ask(app, "POST", path, b'{"do": "answer", "text": "hi"}' * (path == "/run"), headers=bearer(key))

    assert answer.status == status
    assert status == 200 or answer.problem["type"] == "/problems/forbidden"
    if status == 403:
        assert (await ledger.limit(*agent_key("act"))).rule.paused_until is None


async def test_a_run_is_its_callers_and_nobody_elses(app: Guard, ledger: Ledger) -> None:
    one, other = await made(ledger, "acme", "run"), await made(ledger, "zeta", "run")
    await app._verifier.look()

    answers = [await run(app, "answer", key) for key in (one, one, other)]
    keyed = [await run(app, "answer", key, **{"Idempotency-Key": "k"}) for key in (one, other)]

    assert [answer.headers["answer"] for answer in answers] == ["full", "cached", "full"]
    ids = [answer.headers["task-id"] for answer in keyed]
    assert ids == [derived_id(tenant, "/v1/agents/act/run", "k") for tenant in ("acme", "zeta")]


async def test_a_run_sees_its_tenants_artifacts_only(app: Guard, ledger: Ledger, tmp_path: Path) -> None:
    one, other = await made(ledger, "acme", "run"), await made(ledger, "zeta", "run")
    await app._verifier.look()
    sha256 = FolderArtifacts(tmp_path, "acme").write(b"classified")

    def body(size: int) -> bytes:
        reference = f'{{"sha256": "{sha256}", "size": {size}, "media_type": "text/plain", "name": "a"}}'
        return f'{{"do": "read", "file": {reference}}}'.encode()

    mine, theirs = [await ask(app, "POST", "/run", body(10), headers=bearer(key)) for key in (one, other)]

    assert (mine.status, mine.json["text"]) == (200, "acme classified")
    assert theirs.status == 422
    assert b"classified" not in theirs.body


@pytest.mark.parametrize(("scopes", "status"), [("run", 504), ("run submit", 202)])
async def test_only_a_key_that_may_have_tasks_gets_one_of_a_run(
    app: Guard, ledger: Ledger, scopes: str, status: int
) -> None:
    key = await made(ledger, "acme", scopes)
    await app._verifier.look()

    answer = await run(app, "sleep", key, Prefer="respond-async, wait=0")

    assert answer.status == status
    tasks = await ledger.tasks("acme", Filter(), None, 9)
    assert [task.id for task in tasks] == ([answer.headers["task-id"]] if status == 202 else [])
    assert await ledger.tasks("", Filter(), None, 9) == []


async def test_a_task_of_a_run_is_found_again_by_its_own_tenants_key_only(app: Guard, ledger: Ledger) -> None:
    one, other = await made(ledger, "acme", "run submit"), await made(ledger, "zeta", "run submit")
    await app._verifier.look()
    how = {"Idempotency-Key": "k", "Prefer": "respond-async, wait=0"}

    first, again, others = [await run(app, "sleep", key, **how) for key in (one, one, other)]

    assert [answer.status for answer in (first, again, others)] == [202, 202, 202]
    assert first.headers["task-id"] == again.headers["task-id"] != others.headers["task-id"]
    assert len(await ledger.tasks("zeta", Filter(), None, 9)) == 1


async def test_runs_go_on_while_the_ledger_is_down(tmp_path: Path, ledger: Ledger) -> None:
    key = await made(ledger, "", "run submit admin")
    app = replica(tmp_path, ledger)
    async with living(app):
        app._verifier._read = Unreachable().keys_since
        await asyncio.sleep(0)

        assert (await run(app, "answer", key)).status == 200
        assert (await run(app, "answer", "rbt_wrong")).status == 401


async def test_a_replica_that_never_read_a_key_asks_to_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployments.guard.FIRST_KEYS", 0.01)
    async with living(app := replica(tmp_path, Unreachable(), opens=True)):
        answer = await run(app, "answer", "rbt_any")

    assert (answer.status, answer.problem["type"]) == (503, "/problems/unavailable")
    assert answer.headers["retry-after"] == "2"


async def test_an_open_replica_asks_nobody_for_a_key(tmp_path: Path, ledger: Ledger) -> None:
    async with living(app := replica(tmp_path, ledger, opens=True)):
        assert (await ask(app, "POST", "/run", b'{"do": "answer", "text": "hi"}')).status == 200
        await made(ledger)
        await app._verifier.look()
        assert (await ask(app, "POST", "/run", b'{"do": "answer", "text": "hi"}')).status == 401


async def test_who_hosts_it_asks_the_application_itself(app: Guard) -> None:
    app.check_health()
    app.leave("drain")

    assert app.load.running == 0
    assert not hasattr(app, "nothing")


class Recording:
    """An application that notes what got to it."""

    def __init__(self) -> None:
        self.callers: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.callers.append(scope.get(CALLER))


async def websocket(app: Guard, key: str, **about: Any) -> list[Any]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("there is nothing to receive")

    headers = [(name.lower().encode(), value.encode()) for name, value in bearer(key).items()]
    scope = {"type": "websocket", "path": "/x/session", "root_path": "/x", "headers": headers, **about}
    await app(scope, receive, send)
    return sent


async def test_a_websocket_needs_a_key_that_may_run(ledger: Ledger) -> None:
    inner = Recording()
    await made(ledger)
    runs, submits = await made(ledger, "acme", "run"), await made(ledger, "acme", "submit")
    app = Guard(inner, Verifier(ledger.keys_since, opens=False), replica_needs)
    await app._verifier.look()

    for key in ("rbt_wrong", submits):
        assert [message["type"] for message in await websocket(app, key)] == ["websocket.close"]
        told = await websocket(app, key, extensions={"websocket.http.response": {}})
        assert told[0]["type"] == "websocket.http.response.start"
        assert told[0]["status"] == (403 if key == submits else 401)
    assert inner.callers == []

    assert await websocket(app, runs) == []
    assert [caller.tenant for caller in inner.callers] == ["acme"]


async def test_a_gateway_is_not_ready_before_it_can_tell_who_may_ask(ledger: Ledger) -> None:
    headers = bearer(await made(ledger))
    app = Guard(await start_greeting("hello"), Verifier(ledger.keys_since, opens=False), gateway_needs)
    paths = ("/healthz", "/readyz", "/v1/tasks")

    early = [(await ask(app, "GET", path, headers=headers)).status for path in paths]
    await app._verifier.look()

    assert early == [200, 503, 503]
    assert [(await ask(app, "GET", path, headers=headers)).status for path in paths] == [200, 200, 200]


@pytest.mark.parametrize(
    ("path", "root", "open"),
    [
        ("/healthz", "", True),
        ("/readyz", "", True),
        ("/healthz/", "", False),
        ("//healthz", "", False),
        ("/v1/tasks", "", False),
        ("/v1/tasks/healthz", "/v1/tasks", False),
        ("/metrics", "", False),
        ("/openapi.json", "", False),
        ("/", "", False),
    ],
)
def test_two_routes_of_the_gateway_are_open(path: str, root: str, open: bool) -> None:
    assert (gateway_needs({"type": "http", "path": path, "root_path": root}) is None) is open
