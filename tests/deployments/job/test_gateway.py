"""The gateway as it may answer: busy, away, replaced, broken off; a job waits and asks again, or says why it cannot."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import httpx
import pytest

from deployments.job.errors import Away, JobStopped, Refusal
from deployments.job.gateway import Gateway
from deployments.problems import Problem, forbidden, invalid_input, no_access, not_found, overloaded, unavailable

Answer = httpx.Response | Exception
AGENTS = [{"name": "shop", "modes": ["background"]}, {"name": "live", "modes": ["realtime"]}]
DOWN = httpx.ConnectError("refused")


def problem(found: Problem) -> httpx.Response:
    return httpx.Response(found.status, content=found.body(), headers=dict(found.headers))


class Server:
    """Answers as it was told, one after the other."""

    def __init__(self, answers: Iterable[Answer]) -> None:
        self.answers = iter(answers)
        self.asked: list[httpx.Request] = []
        self.slept: list[float] = []
        self.told: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        answer = next(self.answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def gateway(self, patience: float = 600.0) -> Gateway:
        http = httpx.AsyncClient(transport=httpx.MockTransport(self), base_url="http://gateway")
        return Gateway(http, self.told.append, patience=patience, sleep=self.sleep)


Serve = Callable[..., Server]
ACCEPTED = httpx.Response(202, json={"batch_id": "b1", "task_ids": []})


async def test_a_busy_ledger_is_asked_again_when_it_says() -> None:
    server = Server([problem(overloaded("full", 7)), problem(overloaded("full", 3)), ACCEPTED])

    assert await server.gateway().submit("k", b"{}") == "b1"

    assert server.slept == [7, 3]
    assert [request.headers["idempotency-key"] for request in server.asked] == ["k"] * 3
    assert server.told == []


async def test_a_busy_ledger_is_never_given_up() -> None:
    server = Server([*[problem(overloaded("full", 60))] * 50, ACCEPTED])

    assert await server.gateway(patience=10).submit("k", b"{}") == "b1"


@pytest.mark.parametrize(
    "trouble",
    [
        DOWN,
        httpx.ReadError("reset"),
        httpx.ReadTimeout("slow"),
        problem(unavailable("starting", 1)),
        httpx.Response(502, text="<html>Bad gateway"),
        httpx.Response(500, text="Internal Server Error"),
        httpx.Response(408),
    ],
)
async def test_a_gateway_that_is_away_is_asked_again_with_the_same_key(trouble: Answer) -> None:
    server = Server([*[trouble] * 5, ACCEPTED])

    assert await server.gateway().submit("k", b"{}") == "b1"

    assert len({(request.headers["idempotency-key"], request.content) for request in server.asked}) == 1
    assert len(server.told) == 1
    assert server.slept == sorted(server.slept)


async def test_one_that_stays_away_ends_the_job_with_its_reason() -> None:
    server = Server([DOWN] * 100)

    with pytest.raises(JobStopped, match=r"http://gateway.* has been away for .*refused"):
        await server.gateway(patience=60).submit("k", b"{}")
    assert sum(server.slept) <= 60


async def test_a_batch_that_our_own_code_fails_on_is_refused_after_three_tries() -> None:
    internal = Problem(500, "Internal error", "reference 7", "/problems/internal")
    server = Server([problem(internal)] * 3)

    with pytest.raises(Refusal) as refusal:
        await server.gateway().submit("k", b"{}")
    assert refusal.value.document["type"] == "/problems/internal"


async def test_a_batch_that_does_not_fit_is_refused_at_once() -> None:
    server = Server([problem(invalid_input("1 of 2", ["inputs.1: no"]))])

    with pytest.raises(Refusal) as refusal:
        await server.gateway().submit("k", b"{}")
    assert refusal.value.document["errors"] == ["inputs.1: no"]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (problem(no_access("This needs a key.")), "This needs a key"),
        (problem(forbidden("This needs a key with the scope submit.", "submit")), "scope submit"),
        (problem(not_found("batch", "There is no batch 'b1'.")), "There is no batch 'b1'"),
        (httpx.Response(404, text="nothing here"), "nothing here"),
    ],
)
async def test_what_no_patience_helps_with_ends_the_job_in_a_line(answer: httpx.Response, said: str) -> None:
    with pytest.raises(JobStopped, match=said) as stopped:
        await Server([answer]).gateway().counts("b1")
    assert "\n" not in str(stopped.value)


@pytest.mark.parametrize(
    ("agent", "said"),
    [("shpo", r"no agent 'shpo'; did you mean 'shop'\? \(there are: live, shop\)"), ("live", "has no background mode")],
)
async def test_an_agent_that_cannot_do_it_is_named(agent: str, said: str) -> None:
    with pytest.raises(JobStopped, match=said):
        await Server([httpx.Response(200, json={"items": AGENTS})]).gateway().check(agent)


async def test_an_agent_that_can_is_let_pass() -> None:
    await Server([httpx.Response(200, json={"items": AGENTS})]).gateway().check("shop")


class Stream(httpx.AsyncByteStream):
    """A body in pieces, which may break off."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece


async def lines(server: Server) -> list[str]:
    return [line async for line in server.gateway().results("b1")]


async def test_results_end_at_newlines_alone_however_they_are_cut() -> None:
    texts = ['{"text":"a\u2028b\u0085c"}', '{"n":2}']
    data = "".join(f"{text}\n" for text in texts).encode()

    for at in range(len(data)):
        assert await lines(Server([httpx.Response(200, stream=Stream(data[:at], data[at:]))])) == texts


@pytest.mark.parametrize("end", [httpx.ReadError("reset"), b""])
async def test_results_that_break_off_are_no_end(end: Any) -> None:
    server = Server([httpx.Response(200, stream=Stream(b'{"n":1}\n{"n', end))])

    with pytest.raises(Away, match="broke off"):
        await lines(server)


async def test_results_that_are_refused_say_why() -> None:
    with pytest.raises(Refusal):
        await lines(Server([problem(not_found("batch", "gone"))]))
    with pytest.raises(Away):
        await lines(Server([problem(unavailable("soon"))]))


async def test_canceled_tasks_of_a_batch_are_queued_again() -> None:
    server = Server([httpx.Response(200, json={"matched": 3})])

    await server.gateway().take_up("b1")

    assert server.asked[0].url.path == "/v1/tasks/retry"
    assert json.loads(server.asked[0].content) == {"batch_id": "b1", "state": "canceled"}
