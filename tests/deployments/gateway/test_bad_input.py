"""That whatever a caller gets wrong is refused with what is wrong, and leaves nothing behind."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from cluster.ledger import Ledger
from cluster.task import Filter
from deployments.bodies import Limits
from tests.deployments.callers import called_by

from .conftest import LIMITS, Build, reaching

INPUT = {"text": "hello"}
TASK = {"agent": "both", "input": INPUT}


@pytest.fixture(autouse=True)
async def _nothing_is_stored(ledger: Ledger) -> AsyncIterator[None]:
    yield
    assert not await ledger.tasks("", Filter(), None, 10)


async def refused(client: httpx.AsyncClient, route: str, body: Any) -> tuple[int, str, str]:
    """Status, type, and detail with errors of the problem that answers this body."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = await client.post(route, content=content, headers={"Prefer": "respond-async"})
    problem = answer.json()
    return answer.status_code, problem["type"], "\n".join([problem["detail"], *problem.get("errors", ())])


MALFORMED = {
    "cut off": (b'{"agent": "both", ', "line 1 column"),
    "empty": (b"", "line 1 column 0"),
    "not JSON": (b"agent=both", "line 1 column 1"),
    "something behind it": (b'{"agent":"both","input":{"text":"a"}} x', "trailing"),
    "not UTF-8": (b'{"agent": "both", "input": {"text": "\xff"}}', "unicode"),
    "a byte-order mark": (b"\xef\xbb\xbf{}", "line 1 column 1"),
    "NaN": (b'{"agent": "both", "input": {"text": "a", "amount": NaN}}', "line 1 column"),
    "too deep": (b'{"agent":"both","input":' + b"[" * 500 + b"]" * 500 + b"}", "recursion"),
    "a lone surrogate": (b'{"agent": "both", "input": {"text": "\\ud800"}}', "surrogate"),
    "a lone low surrogate": (b'{"agent": "both", "input": {"text": "\\udc00 a"}}', "surrogate"),
    "a surrogate as bytes": (b'{"agent": "both", "input": {"text": "\xed\xa0\x80"}}', "unicode"),
    "a surrogate in a name": (b'{"agent": "both", "input": {"text": "a", "\\ud800": 1}}', "surrogate"),
    "NUL": (b'{"agent": "both", "input": {"text": "a\\u0000b"}}', "input.text holds the character NUL"),
    "NUL in a name": (b'{"agent": "both", "input": {"te\\u0000xt": "a"}}', "A name in input holds the character NUL"),
    "NUL deep inside": (b'{"agent": "both", "input": {"text": ["a", {"b": "\\u0000"}]}}', "input.text.1.b holds"),
    "a raw NUL": (b'{"agent": "both", "input": {"text": "a\x00b"}}', "control character"),
}


@pytest.mark.parametrize("name", MALFORMED)
@pytest.mark.parametrize("route", ["/v1/tasks", "/v1/tasks/batch", "/v1/agents/later/run"])
async def test_what_is_not_json_that_can_be_kept_is_a_400_that_says_where(
    client: httpx.AsyncClient, name: str, route: str
) -> None:
    body, says = MALFORMED[name]

    status, type, text = await refused(client, route, body)

    assert (status, type) == (400, "/problems/malformed-json")
    assert says in text


async def test_an_escaped_backslash_before_u0000_is_no_nul(client: httpx.AsyncClient) -> None:
    status, _, text = await refused(client, "/v1/tasks", b'{"agent": "both", "input": {"text": 1, "a": "\\\\u0000"}}')

    assert status == 422
    assert "text: Input should be a valid string" in text


REQUESTS = {
    "no agent": ({"input": INPUT}, "agent: Field required"),
    "no input": ({"agent": "both"}, "input: Field required"),
    "an unknown field": ({**TASK, "option": {}}, "option: there is no such field; did you mean 'options'?"),
    "a field of no likeness": ({**TASK, "xyzzy": {}}, "xyzzy: there is no such field"),
    "not an object": ([TASK], "body: must be an object"),
    "an agent that is no text": ({**TASK, "agent": 1}, "agent: Input should be a valid string"),
    "options that are none": ({**TASK, "options": [1]}, "options: must be an object"),
    "a market that is none": (
        {**TASK, "options": {"market": "on-demand"}},
        "options.market: must be one of any, spot, on_demand; did you mean 'on_demand'?",
    ),
    "an unknown option": (
        {**TASK, "options": {"prioritty": 1}},
        "options.prioritty: there is no such option; did you mean 'priority'?",
    ),
    **{
        f"an option of a later time: {name}": (
            {**TASK, "options": {name: "x"}},
            f"options.{name}: there is no such option",
        )
        for name in ("callback", "budget")
    },
    "a session without a name": ({**TASK, "options": {"session": ""}}, "options.session: "),
    "a session of 5 kB": ({**TASK, "options": {"session": "x" * 5000}}, "options.session: "),
    "a session that cannot be printed": ({**TASK, "options": {"session": "a\tb"}}, "options.session: "),
    "too low a priority": ({**TASK, "options": {"priority": -101}}, "options.priority: "),
    "too high a priority": ({**TASK, "options": {"priority": 101}}, "options.priority: "),
    "a priority that is text": ({**TASK, "options": {"priority": "5"}}, "options.priority: "),
    "a priority that is a truth": ({**TASK, "options": {"priority": True}}, "options.priority: "),
    "a timeout of nothing": ({**TASK, "options": {"timeout": 0}}, "options.timeout: "),
    "a timeout without end": (b'{"agent":"both","input":{"text":"a"},"options":{"timeout":1e999}}', "options.timeout"),
    "a timeout past any clock": ({**TASK, "options": {"timeout": 1e300}}, "options.timeout: "),
    "no attempt": ({**TASK, "options": {"max_attempts": 0}}, "options.max_attempts: "),
    "too many attempts": ({**TASK, "options": {"max_attempts": 101}}, "options.max_attempts: "),
    "half an attempt": ({**TASK, "options": {"max_attempts": 1.5}}, "options.max_attempts: "),
    "a moment without offset": ({**TASK, "options": {"run_at": "2030-01-01T00:00:00"}}, "options.run_at: must be a mo"),
    "a moment that is a number": ({**TASK, "options": {"run_at": 1893456000}}, "options.run_at: must be a moment"),
    "a date": ({**TASK, "options": {"run_at": "2030-01-01"}}, "options.run_at: must be a moment"),
    "a 30th of February": ({**TASK, "options": {"run_at": "2030-02-30T00:00:00Z"}}, "options.run_at: "),
    "an impossible offset": ({**TASK, "options": {"run_at": "2030-01-01T00:00:00+99:00"}}, "options.run_at: "),
    "a moment long ago": ({**TASK, "options": {"run_at": "0001-01-01T00:00:00+14:00"}}, "options.run_at: must lie"),
    "a moment too far": ({**TASK, "options": {"run_at": "9999-12-31T23:59:59-14:00"}}, "options.run_at: must lie"),
    "a deadline that has passed": (
        {**TASK, "options": {"deadline": "2020-01-01T00:00:00Z"}},
        "options.deadline: has passed already",
    ),
    "a deadline without offset": (
        {**TASK, "options": {"deadline": "2030-01-01T00:00:00"}},
        "options.deadline: must be a moment",
    ),
    "a deadline before the start": (
        {**TASK, "options": {"deadline": "2030-01-01T00:00:00Z", "run_at": "2030-01-01T00:00:01Z"}},
        "options.deadline: must come after run_at",
    ),
    "a deadline at the start": (
        {**TASK, "options": {"run_at": "2030-01-01T00:00:00Z", "deadline": "2030-01-01T01:00:00+01:00"}},
        "options.deadline: must come after run_at",
    ),
    "a retry that is a number": ({**TASK, "options": {"retry": 3}}, "options.retry: must be an object"),
    "a retry with a field too many": (
        {**TASK, "options": {"retry": {"bass": 1}}},
        "options.retry.bass: there is no such field; did you mean 'base'?",
    ),
    "a wait below nothing": ({**TASK, "options": {"retry": {"base": -1}}}, "options.retry.base: "),
    "a wait of more than a year": ({**TASK, "options": {"retry": {"base": 1e9, "cap": 1e9}}}, "options.retry.base: "),
    "a cap of more than a year": ({**TASK, "options": {"retry": {"cap": 1e9}}}, "options.retry.cap: "),
    "a cap below nothing": ({**TASK, "options": {"retry": {"cap": -0.5}}}, "options.retry.cap: "),
    "a wait that is text": ({**TASK, "options": {"retry": {"base": "1"}}}, "options.retry.base: "),
    "a jitter below nothing": ({**TASK, "options": {"retry": {"jitter": -0.1}}}, "options.retry.jitter: "),
    "a jitter above one": ({**TASK, "options": {"retry": {"jitter": 1.1}}}, "options.retry.jitter: "),
    "a first wait above the cap": (
        {**TASK, "options": {"retry": {"base": 10, "cap": 5}}},
        "options.retry: base must be between 0 and cap",
    ),
    "a first wait above the agent's cap": (
        {**TASK, "options": {"retry": {"base": 61}}},
        "options.retry: base must be between 0 and cap",
    ),
    "an empty limit key": ({**TASK, "options": {"limit_key": ""}}, "options.limit_key: "),
    "a limit key of 10 kB": ({**TASK, "options": {"limit_key": "k" * 10_000}}, "options.limit_key: "),
    "a limit key of 256 bytes": (
        {**TASK, "options": {"limit_key": "ü" * 128}},
        "options.limit_key: must have 1 to 255",
    ),
    "a limit key that is a number": ({**TASK, "options": {"limit_key": 7}}, "options.limit_key: "),
    "the limit key of an agent": (
        {**TASK, "options": {"limit_key": "agent:both"}},
        "options.limit_key: must not begin with 'agent:'",
    ),
    "a tag of 10 kB": ({**TASK, "options": {"tags": ["t" * 10_000]}}, "options.tags.0: "),
    "too many tags": ({**TASK, "options": {"tags": ["a"] * 33}}, "options.tags: "),
    "too long a tag": ({**TASK, "options": {"tags": ["ü" * 128]}}, "options.tags.0: must have 1 to 255 bytes"),
    "an empty tag": ({**TASK, "options": {"tags": [""]}}, "options.tags.0: "),
    "a tag that is no text": ({**TASK, "options": {"tags": [1]}}, "options.tags.0: "),
    "tags that are no list": ({**TASK, "options": {"tags": "a"}}, "options.tags: "),
}


@pytest.mark.parametrize("name", REQUESTS)
async def test_a_request_that_does_not_fit_is_a_422_that_names_the_field(client: httpx.AsyncClient, name: str) -> None:
    body, says = REQUESTS[name]

    status, type, text = await refused(client, "/v1/tasks", body)

    assert (status, type) == (422, "/problems/invalid-request")
    assert says in text


BATCHES = {
    "no inputs": ({"agent": "both", "inputs": []}, "inputs: "),
    "too many": ({"agent": "both", "inputs": [1] * 10_001}, "inputs: "),
    "inputs that are no list": ({"agent": "both", "inputs": INPUT}, "inputs: "),
    "one input": ({"agent": "both", "input": INPUT}, "input: there is no such field; did you mean 'inputs'?"),
    "an unknown option": ({"agent": "both", "inputs": [INPUT], "options": {"tag": "a"}}, "did you mean 'tags'?"),
}


@pytest.mark.parametrize("name", BATCHES)
async def test_a_batch_that_does_not_fit_is_a_422_that_names_the_field(client: httpx.AsyncClient, name: str) -> None:
    body, says = BATCHES[name]

    status, type, text = await refused(client, "/v1/tasks/batch", body)

    assert (status, type) == (422, "/problems/invalid-request")
    assert says in text


INPUTS = {
    "an unknown field": ({"text": "a", "txet": "b"}, "txet: Extra inputs are not permitted"),
    "a missing field": ({}, "text: Field required"),
    "another type": ({"text": 5}, "text: Input should be a valid string"),
    "no object": ("hello", "body: Input should be"),
    "nothing": (None, "body: Input should be"),
}


@pytest.mark.parametrize("name", INPUTS)
async def test_an_input_that_does_not_fit_the_agent_is_a_422_that_says_why(
    client: httpx.AsyncClient, name: str
) -> None:
    given, says = INPUTS[name]
    told = [
        await refused(client, "/v1/tasks", {"agent": "both", "input": given}),
        await refused(client, "/v1/tasks/batch", {"agent": "both", "inputs": [INPUT, given]}),
        await refused(client, "/v1/agents/later/run", given),
    ]

    for status, type, text in told:
        assert (status, type) == (422, "/problems/invalid-input")
        assert says in text


async def test_of_ten_thousand_inputs_the_wrong_one_is_named_and_none_is_accepted(build: Build, ledger: Ledger) -> None:
    inputs: list[Any] = [INPUT] * 10_000
    inputs[7_321] = {"txt": "hello"}
    async with reaching(build(ledger, Limits())) as client:
        answer = await client.post("/v1/tasks/batch", json={"agent": "both", "inputs": inputs})

    problem = answer.json()
    assert (answer.status_code, problem["type"]) == (422, "/problems/invalid-input")
    assert problem["detail"].startswith("1 of 10000 inputs")
    assert {line.split(":")[0] for line in problem["errors"]} == {"inputs.7321"}


async def test_what_was_sent_is_not_repeated_at_length(client: httpx.AsyncClient) -> None:
    given = {"text": "a"} | {"x" * 30 + str(number): 1 for number in range(40)}
    long = {"agent": "a" * 1500, "input": INPUT}

    wide = await client.post("/v1/tasks", json={"agent": "both", "input": given})
    deep = await client.post("/v1/tasks", json={"agent": "both", "input": {"text": "a", "y" * 1900: 1}})
    unknown = await client.post("/v1/tasks", json=long)

    assert len(wide.json()["errors"]) == 40
    assert all(len(answer.content) < 6000 for answer in (wide, deep, unknown))


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("/v1/tasks", {"agent": "both", "input": {"text": "x" * LIMITS.input}}),
        ("/v1/tasks", {"agent": "both", "input": {"text": "ü" * (LIMITS.input // 2)}}),
        ("/v1/tasks/batch", {"agent": "both", "inputs": [INPUT, {"text": "x" * LIMITS.input}]}),
        ("/v1/tasks/batch", {"agent": "both", "inputs": [{"text": "x" * 100}] * 1000}),
        ("/v1/agents/later/run", {"text": "x" * LIMITS.input}),
    ],
)
async def test_what_is_too_large_is_a_413(client: httpx.AsyncClient, route: str, body: Any) -> None:
    status, type, _ = await refused(client, route, json.dumps(body, ensure_ascii=False).encode())

    assert (status, type) == (413, "/problems/too-large")


@pytest.mark.parametrize("route", ["/v1/tasks", "/v1/tasks/batch", "/v1/agents/later/run"])
async def test_a_body_over_the_limit_is_refused_while_it_is_read(client: httpx.AsyncClient, route: str) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1000
            yield b" " * 1000

    answer = await client.post(route, content=endless(), headers={"Prefer": "respond-async"})

    assert answer.status_code == 413
    assert sent <= LIMITS.batch + 2000


async def test_an_unknown_route_and_a_wrong_method_are_problems_too(client: httpx.AsyncClient) -> None:
    unknown = await client.get("/v2/tasks")
    slash = await client.get("/v1/tasks/")
    wrong = await client.delete("/v1/tasks")

    assert (unknown.status_code, unknown.json()["type"]) == (404, "/problems/unknown-route")
    assert slash.status_code == 404
    assert (wrong.status_code, wrong.json()["type"]) == (405, "/problems/wrong-method")
    assert wrong.headers["allow"] == "GET, POST"


class Broken:
    """A ledger with a fault that nobody foresaw."""

    def __getattr__(self, name: str) -> Any:
        raise ZeroDivisionError("secret of the house")


async def test_a_fault_of_ours_is_a_500_with_a_reference_and_nothing_else(
    build: Build, caplog: pytest.LogCaptureFixture
) -> None:
    async with reaching(build(Broken())) as client:
        with caplog.at_level(logging.ERROR):
            answer = await client.post("/v1/tasks", json=TASK)

    reference = answer.json()["detail"].split()[-1].rstrip(".")
    record = next(record for record in caplog.records if reference in record.getMessage())
    assert (answer.status_code, answer.json()["type"]) == (500, "/problems/internal")
    assert "secret" not in answer.text
    assert record.exc_info is not None
    assert "secret of the house" in str(record.exc_info[1])


async def test_a_caller_who_leaves_in_the_middle_of_a_body_stores_nothing(build: Build, ledger: Ledger) -> None:
    messages = [
        {"type": "http.request", "body": b'{"agent": "both",', "more_body": True},
        {"type": "http.disconnect"},
    ]
    answered: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        answered.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/tasks",
        "raw_path": b"/v1/tasks",
        "root_path": "",
        "query_string": b"",
        "headers": [],
        "asgi": {"version": "3.0"},
    }
    await called_by(build(ledger))(scope, receive, send)

    assert answered[0]["status"] == 400
