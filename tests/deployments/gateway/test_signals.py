"""What a caller may rely on who signals to a task."""

from __future__ import annotations

import httpx
import pytest

from cluster.ledger import Ledger
from cluster.waits import Waits
from tests.deployments.ledgers import Hand

from .conftest import KEY, LIMITS


async def test_a_signal_is_kept_as_it_was_sent_until_the_task_waits_for_it(
    client: httpx.AsyncClient, hand: Hand, submitted: str
) -> None:
    answers = [
        await client.post(f"/v1/tasks/{submitted}/signals/approve", content=b' {"by": "Ann",  "amount": 1.10} '),
        await client.post(f"/v1/tasks/{submitted}/signals/a%2Fb", content=b"null"),
        await client.post(f"/v1/tasks/{submitted}/signals/%C3%BC"),
    ]

    claim = await hand.take()
    assert [answer.status_code for answer in answers] == [202] * 3
    assert answers[0].json()["id"] == submitted
    assert [(signal.name, signal.payload) for signal in claim.signals] == [
        ("approve", '{"by": "Ann",  "amount": 1.10}'),
        ("a/b", "null"),
        ("ü", "null"),
    ]


async def test_a_signal_wakes_the_task_that_waits_for_it(client: httpx.AsyncClient, hand: Hand, submitted: str) -> None:
    await hand.wait(await hand.take(), Waits(None, ("approve",)))

    other = await client.post(f"/v1/tasks/{submitted}/signals/reject")
    answer = await client.post(f"/v1/tasks/{submitted}/signals/approve", json="yes")

    claim = await hand.take()
    assert (other.json()["state"], other.json()["waiting_on"]["signals"]) == ("waiting", ["approve"])
    assert (answer.json()["state"], answer.json()["waiting_on"]) == ("queued", None)
    assert (claim.task.attempts, [signal.name for signal in claim.signals]) == (1, ["reject", "approve"])


async def test_a_signal_sent_again_with_its_key_is_kept_once(
    client: httpx.AsyncClient, hand: Hand, submitted: str
) -> None:
    path = f"/v1/tasks/{submitted}/signals/go"

    first = await client.post(path, json={"n": 1}, headers=KEY)
    again = await client.post(path, content=b'{ "n": 1 }', headers=KEY)
    other = await client.post(path, json={"n": 2}, headers=KEY)
    elsewhere = await client.post(f"{path}2", json={"n": 3}, headers=KEY)

    claim = await hand.take()
    assert [answer.status_code for answer in (first, again, other, elsewhere)] == [202, 202, 409, 202]
    assert [signal.payload for signal in claim.signals] == ['{"n":1}', '{"n":3}']


async def test_a_signal_to_an_ended_task_is_refused(client: httpx.AsyncClient, failed: str) -> None:
    answer = await client.post(f"/v1/tasks/{failed}/signals/go", json=1)

    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/conflict")


@pytest.mark.parametrize(
    ("name", "body", "status"),
    [
        ("go", b"{", 400),
        ("go", b"NaN", 400),
        ("go", b'"\\u0000"', 400),
        ("go", b'"' + b"x" * LIMITS.input + b'"', 413),
        ("g" * 256, b"1", 422),
        ("%C3%BC" * 128, b"1", 422),
        ("g" * 10_000, b"1", 422),
        ("a%00b", b"1", 422),
        ("a%ffb", b"1", 422),
        ("", b"1", 422),
    ],
)
async def test_a_signal_that_cannot_be_kept_is_refused(
    client: httpx.AsyncClient, ledger: Ledger, submitted: str, name: str, body: bytes, status: int
) -> None:
    answer = await client.post(f"/v1/tasks/{submitted}/signals/{name}", content=body)

    task = await ledger.task("", submitted)
    assert answer.status_code == status
    assert task is not None
    assert task.signals == 0
