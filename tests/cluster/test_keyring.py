"""API keys as the ledger keeps them, and their text."""

from __future__ import annotations

from typing import Any

import pytest

from agents.ids import is_id, new_id
from cluster import keyring
from cluster.apikeys import ApiKey, digest_of, id_of, new_text, write_scopes
from cluster.errors import Conflict, Unavailable
from cluster.ledger import Ledger

from .callers import ShakyStore, running
from .making import ManualClock


def key(tenant: str = "", scopes: str = "run submit admin", **changes: Any) -> ApiKey:
    id = new_id()
    return ApiKey(tenant, id, "", scopes, f"digest of {id}", 0.0)._replace(**changes)


def test_a_text_tells_its_id_and_is_new_each_time() -> None:
    id = new_id()
    text, again = new_text(id), new_text(id)

    assert id_of(text) == id
    assert is_id(id)
    assert text != again
    assert len(text) == len("rbt_") + 32 + 1 + 43


@pytest.mark.parametrize("text", ["", "rbt_", "rbt_" + "0" * 32, f"rbt_{'0' * 32}_short", f"x{'0' * 35}_{'a' * 43}"])
def test_what_is_no_key_has_no_id(text: str) -> None:
    assert id_of(text) is None


def test_a_digest_is_plain_sha_256() -> None:
    assert digest_of(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_scopes_are_written_in_one_order() -> None:
    assert write_scopes(frozenset(["admin", "run"])) == "run admin"


@pytest.mark.parametrize(
    ("changes", "usable"),
    [
        ({}, True),
        ({"expires_at": 100.5}, True),
        ({"expires_at": 100.0}, False),
        ({"revoked_at": 50.0}, False),
    ],
)
def test_a_key_lets_in_until_it_expires_or_is_revoked(changes: dict[str, Any], usable: bool) -> None:
    assert key(**changes).usable(100.0) is usable


@pytest.mark.parametrize(("tenant", "scopes"), [("", "run submit"), ("acme", "admin")])
async def test_the_first_key_must_be_an_operators(ledger: Ledger, tenant: str, scopes: str) -> None:
    with pytest.raises(Conflict, match="first key"):
        await ledger.add_key(key(tenant, scopes))

    first = await ledger.add_key(key())
    await ledger.add_key(other := key(tenant, scopes))
    await ledger.revoke_key(None, first.id)
    assert await ledger.add_key(key(tenant, scopes))  # a key that was revoked is one that was made
    assert await ledger.key(tenant, other.id) is not None


async def test_a_key_that_is_added_again_is_added_once(ledger: Ledger, clock: ManualClock) -> None:
    first = await ledger.add_key(asked := key())
    clock.advance(5)

    assert await ledger.add_key(asked) == first == asked._replace(created_at=clock.time - 5)
    with pytest.raises(Conflict, match="another secret"):
        await ledger.add_key(asked._replace(digest="other"))


async def test_there_are_at_most_so_many_keys(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring, "MOST", 2)
    first = await ledger.add_key(key())
    await ledger.add_key(key())
    with pytest.raises(Conflict, match="no more"):
        await ledger.add_key(key())

    await ledger.revoke_key(None, first.id)

    await ledger.add_key(key())


async def test_keys_are_listed_the_newest_first_page_by_page(ledger: Ledger) -> None:
    mine = [await ledger.add_key(key()) for _ in range(3)]
    theirs = await ledger.add_key(key("acme", "run"))

    assert await ledger.keys("", None, 2) == [mine[2], mine[1]]
    assert await ledger.keys("", mine[1].id, 2) == [mine[0]]
    assert await ledger.keys(None, None, 1) == [theirs]


async def test_a_tenant_neither_sees_nor_revokes_the_key_of_another(ledger: Ledger) -> None:
    mine = await ledger.add_key(key())

    assert await ledger.key("acme", mine.id) is None
    assert await ledger.revoke_key("acme", mine.id) is None
    assert await ledger.key(None, mine.id) == mine


async def test_who_checks_hears_of_a_change_and_of_nothing_else(ledger: Ledger) -> None:
    empty = await ledger.keys_since("")
    assert empty is not None
    assert (empty.keys, empty.made) == ((), False)
    assert await ledger.keys_since(empty.version) is None

    mine = await ledger.add_key(key())
    one = await ledger.keys_since(empty.version)
    assert one is not None
    assert (one.keys, one.made) == ((mine,), True)
    assert await ledger.keys_since(one.version) is None

    await ledger.revoke_key("", mine.id)
    none = await ledger.keys_since(one.version)
    assert none is not None
    assert (none.keys, none.made) == ((), True)


async def test_a_revoked_key_stays_so_the_second_time_too(ledger: Ledger, clock: ManualClock) -> None:
    mine = await ledger.add_key(key())
    revoked = await ledger.revoke_key("", mine.id)
    clock.advance(5)

    assert await ledger.revoke_key("", mine.id) == revoked == mine._replace(revoked_at=clock.time - 5)


async def test_of_the_revoked_the_newest_are_kept(
    ledger: Ledger, clock: ManualClock, store: ShakyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring, "REVOKED", 2)
    keys = [await ledger.add_key(key()) for _ in range(4)]

    for each in keys:
        clock.advance(1)
        await ledger.revoke_key(None, each.id)

    assert {each.id for each in await ledger.keys(None, None, 10)} == {each.id for each in keys[2:]}
    assert {each.id for each in await store.api_keys()} == {each.id for each in keys[2:]}
    found = await ledger.keys_since("")
    assert found is not None
    assert found.made


async def test_the_next_life_of_a_ledger_has_the_keys_and_another_version(ledger: Ledger, store: ShakyStore) -> None:
    mine = await ledger.add_key(key())
    before = await ledger.keys_since("")
    assert before is not None
    async with running(store, ManualClock()) as again:
        after = await again.keys_since(before.version)

    assert after == before._replace(version=after.version if after else "")
    assert after is not None
    assert after.keys == (mine,)


async def test_a_key_whose_commit_failed_is_none(ledger: Ledger, store: ShakyStore) -> None:
    await ledger.add_key(key())
    before = await ledger.keys_since("")
    store.down = True
    with pytest.raises(Unavailable):
        await ledger.add_key(lost := key())
    store.down = False

    assert before is not None
    assert await ledger.key(None, lost.id) is None
    after = await ledger.keys_since(before.version)
    assert after is None or after.keys == before.keys
