"""Who is let in from the start: never more than the operator has said, and always somebody who can make keys."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from agents.ids import new_id
from cluster.apikeys import digest_of, new_text
from cluster.ledger import Ledger
from deployments.admitting import Admission, NoAdmission, admit, check_text, is_loopback

from .keys import made
from .ledgers import running_ledger

Admit = Callable[..., Any]


@pytest.fixture
async def ledger() -> AsyncIterator[Ledger]:
    async with running_ledger() as ledger:
        yield ledger


@pytest.fixture
async def up(ledger: Ledger) -> Admit:
    """What an `up` does, from a thread as there."""
    loop = asyncio.get_running_loop()

    def ask(method: str, *arguments: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(getattr(ledger, method)(*arguments), loop).result(10)

    async def up(given: str = "", *, opens: bool = False) -> Admission:
        return await asyncio.to_thread(admit, ask, given, opens=opens)

    return up


async def operators(ledger: Ledger) -> list[str]:
    """The digests of keys with which the operator gets in."""
    found = await ledger.keys_since("")
    assert found is not None
    return [key.digest for key in found.keys if key.operator and key.usable(time.time())]


async def test_on_loopback_it_is_open_and_no_key_is_made(up: Admit, ledger: Ledger) -> None:
    assert await up(opens=True) == Admission(open=True)
    assert await ledger.keys(None, None, 1) == []


async def test_elsewhere_a_key_is_made_once_and_only_its_hash_is_kept(up: Admit, ledger: Ledger) -> None:
    first, second = await up(), await up()

    assert not first.open
    assert await operators(ledger) == [digest_of(first.made.encode())]
    assert first.made not in str(await ledger.keys(None, None, 9))
    assert first.made not in repr(first)
    assert second == Admission(open=False)


@pytest.mark.parametrize("opens", [True, False])
async def test_the_key_that_is_given_is_taken_and_closes_the_door(up: Admit, ledger: Ledger, opens: bool) -> None:
    text = new_text(new_id())

    found = [await up(text, opens=opens) for _ in range(2)]

    assert found == [Admission(open=False)] * 2
    assert await operators(ledger) == [digest_of(text.encode())]


async def test_on_loopback_too_it_stays_closed_once_there_was_a_key(up: Admit, ledger: Ledger) -> None:
    await made(ledger)

    assert await up(opens=True) == Admission(open=False)
    assert len(await operators(ledger)) == 1


@pytest.mark.parametrize("opens", [True, False])
async def test_an_operator_who_locked_everybody_out_gets_a_new_key(up: Admit, ledger: Ledger, opens: bool) -> None:
    await made(ledger)
    await ledger.revoke_key(None, (await ledger.keys(None, None, 1))[0].id)
    await made(ledger, expires_at=1.0)
    await made(ledger, "acme")
    await made(ledger, "", "run submit")

    found = await up(opens=opens)

    assert await operators(ledger) == [digest_of(found.made.encode())]


async def test_a_given_key_that_was_revoked_is_refused(up: Admit, ledger: Ledger) -> None:
    await up(text := new_text(new_id()))
    await ledger.revoke_key(None, (await ledger.keys(None, None, 1))[0].id)

    with pytest.raises(NoAdmission, match="was revoked") as raised:
        await up(text)

    assert text not in str(raised.value)
    assert await operators(ledger) == []


async def test_a_given_key_with_the_id_of_another_is_refused(up: Admit, ledger: Ledger) -> None:
    await up(text := new_text(id := new_id()))

    with pytest.raises(NoAdmission, match="cannot be taken"):
        await up(new_text(id))

    assert await operators(ledger) == [digest_of(text.encode())]


@pytest.mark.parametrize("text", ["secret", "rbt_", f"rbt_{'0' * 32}_{'a' * 42}", f"rbt_{'0' * 31}_{'a' * 43}"])
def test_what_was_thought_of_cannot_be_the_operators_key(text: str) -> None:
    with pytest.raises(NoAdmission, match="openssl") as raised:
        check_text(text)

    assert text not in str(raised.value).replace("rbt_$(", "")


def test_what_is_recommended_to_make_one_makes_one() -> None:
    check_text(f"rbt_{'0123456789abcdef' * 2}_{'0123456789abcdef' * 4}")


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.7", False),
        ("localhost.example.com", False),
        ("example.com", False),
        ("", False),
    ],
)
def test_only_loopback_is_open(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
