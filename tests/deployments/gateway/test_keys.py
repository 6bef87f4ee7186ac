"""What whoever makes and revokes keys may rely on."""

from __future__ import annotations

import json
import logging
import time
from typing import Any
from uuid import UUID

import httpx
import pytest

from agents.ids import new_id
from cluster.apikeys import digest_of, id_of
from cluster.ledger import Ledger
from tests.deployments.keys import bearer, made
from tests.deployments.ledgers import Unreachable

from .conftest import Build, Keyed, reaching

FIRST = {"name": "first", "scopes": ["admin"]}


async def make(client: httpx.AsyncClient, key: str | None = None, **body: Any) -> httpx.Response:
    headers = {} if key is None else bearer(key)
    return await client.post("/v1/keys", json={"name": "ci", "scopes": ["run"], **body}, headers=headers)


async def test_a_new_key_is_shown_once_with_its_text(client: httpx.AsyncClient, ledger: Ledger) -> None:
    await client.post("/v1/keys", json=FIRST)

    answer = await make(
        client,
        scopes=["submit", "run"],
        tenant="acme",
        expires_at="2090-01-01T00:00:00Z",
        rate={"count": 10, "seconds": 0.5},
    )

    assert answer.status_code == 201
    shown = answer.json()
    text = shown.pop("key")
    assert id_of(text) == shown["id"]
    assert UUID(shown["id"]).version == 7
    assert answer.headers["location"] == f"/v1/keys/{shown['id']}"
    assert answer.headers["cache-control"] == "no-store"
    assert shown | {"created_at": None, "id": None} == {
        "id": None,
        "name": "ci",
        "tenant": "acme",
        "scopes": ["run", "submit"],
        "rate": {"count": 10, "seconds": 0.5},
        "created_at": None,
        "expires_at": "2090-01-01T00:00:00.000Z",
        "revoked_at": None,
    }
    assert (await client.get(f"/v1/keys/{shown['id']}")).json() == shown
    kept = await ledger.key(None, shown["id"])
    assert kept is not None
    assert kept.digest == digest_of(text.encode())
    assert text not in str(kept)


async def test_keys_are_listed_page_by_page_and_never_with_their_text(client: httpx.AsyncClient) -> None:
    texts = [(await client.post("/v1/keys", json={**FIRST, "name": str(n)})).json()["key"] for n in range(3)]

    first = (await client.get("/v1/keys?limit=2")).json()
    rest = (await client.get(f"/v1/keys?limit=2&cursor={first['next_cursor']}")).json()

    assert [key["name"] for key in first["items"] + rest["items"]] == ["2", "1", "0"]
    assert rest["next_cursor"] is None
    secrets = [text.split("_", 2)[2] for text in texts] + [digest_of(text.encode()) for text in texts]
    assert not any(secret in json.dumps([first, rest]) for secret in secrets)


async def test_a_revoked_key_is_still_shown(client: httpx.AsyncClient) -> None:
    id = (await client.post("/v1/keys", json=FIRST)).json()["id"]

    revoked, again = [await client.delete(f"/v1/keys/{id}") for _ in range(2)]

    assert revoked.status_code == 200
    assert revoked.json()["revoked_at"] is not None
    assert (await client.get(f"/v1/keys/{id}")).json() == revoked.json() == again.json()


@pytest.mark.parametrize("body", [{"scopes": ["run"]}, {"scopes": ["admin"], "tenant": "acme"}])
async def test_the_first_key_must_be_an_operators(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    answer = await make(client, **body)

    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/conflict")
    assert "scope admin" in answer.json()["detail"]


async def test_a_key_that_is_asked_for_twice_is_made_once(client: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "k"}
    first, again = [await client.post("/v1/keys", json=FIRST, headers=headers) for _ in range(2)]

    assert (first.status_code, again.status_code) == (201, 409)
    assert first.json()["id"] in again.json()["detail"]
    assert len((await client.get("/v1/keys")).json()["items"]) == 1


@pytest.mark.parametrize(
    "body",
    [
        {"name": ""},
        {"name": "x" * 256},
        {"name": None},
        {"scopes": []},
        {"scopes": ["root"]},
        {"scopes": ["run", "run"]},
        {"scopes": "run"},
        {"tenant": ""},
        {"tenant": "a/b"},
        {"tenant": "../x"},
        {"tenant": "x" * 64},
        {"expires_at": "2020-01-01T00:00:00Z"},
        {"expires_at": 5},
        {"rate": {"count": 0, "seconds": 1}},
        {"rate": {"count": 1}},
        {"rate": {"count": 1, "seconds": 0}},
        {"secret": "mine"},
    ],
)
async def test_what_cannot_be_a_key_is_refused(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    answer = await make(client, **(FIRST | body))

    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-request")
    assert (await client.get("/v1/keys")).json()["items"] == []


@pytest.mark.parametrize("id", ["01a21830-9ab5-774f-a601-b277338c1dad", "abc", "0198C0DE-0000-7000-8000-000000000000"])
async def test_an_unknown_key_is_a_404(client: httpx.AsyncClient, id: str) -> None:
    for answer in (await client.get(f"/v1/keys/{id}"), await client.delete(f"/v1/keys/{id}")):
        assert (answer.status_code, answer.json()["type"]) == (404, "/problems/unknown-key")


async def test_a_tenants_admin_has_to_do_with_its_own_keys(keyed: Keyed, ledger: Ledger) -> None:
    operator, admin = await made(ledger), await made(ledger, "acme", "admin")
    await keyed.verifier.look()

    own = await make(keyed.http, admin)
    named = await make(keyed.http, admin, tenant="acme")
    foreign = await make(keyed.http, admin, tenant="zeta")
    by_operator = await make(keyed.http, operator, tenant="zeta")

    assert [answer.status_code for answer in (own, named, foreign, by_operator)] == [201, 201, 403, 201]
    assert own.json()["tenant"] == "acme"
    mine = (await keyed.http.get("/v1/keys", headers=bearer(admin))).json()["items"]
    assert {key["tenant"] for key in mine} == {"acme"}
    assert len((await keyed.http.get("/v1/keys", headers=bearer(operator))).json()["items"]) == len(mine) + 2
    theirs = f"/v1/keys/{by_operator.json()['id']}"
    for method in ("GET", "DELETE"):
        assert (await keyed.http.request(method, theirs, headers=bearer(admin))).status_code == 404
        assert (await keyed.http.request(method, theirs, headers=bearer(operator))).status_code == 200


async def test_a_key_lets_in_soon_after_it_was_made_and_not_after_it_was_revoked(keyed: Keyed) -> None:
    assert (await keyed.http.get("/v1/tasks")).status_code == 200  # open, as long as there is none
    first = (await keyed.http.post("/v1/keys", json=FIRST)).json()
    await keyed.verifier.look()

    second = (await make(keyed.http, first["key"])).json()
    await keyed.verifier.look()
    assert (await keyed.http.get("/v1/tasks", headers=bearer(second["key"]))).status_code == 200
    assert (await keyed.http.get("/v1/tasks")).status_code == 401
    await keyed.http.delete(f"/v1/keys/{second['id']}", headers=bearer(first["key"]))
    await keyed.verifier.look()

    assert (await keyed.http.get("/v1/tasks", headers=bearer(second["key"]))).status_code == 401


async def test_without_a_ledger_no_key_is_made(build: Build) -> None:
    async with reaching(build(Unreachable())) as client:
        for answer in (await make(client), await client.get("/v1/keys"), await client.delete(f"/v1/keys/{new_id()}")):
            assert (answer.status_code, answer.json()["type"]) == (503, "/problems/unavailable")


async def test_no_text_of_a_key_is_logged(keyed: Keyed, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    text = (await keyed.http.post("/v1/keys", json=FIRST)).json()["key"]
    await keyed.verifier.look()
    await make(keyed.http, text, expires_at=time.time())
    await keyed.http.get("/v1/tasks", headers=bearer(text))
    await keyed.http.get("/v1/tasks", headers=bearer(text + "x"))

    ours = [record.getMessage() for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
    assert text not in "".join(ours)
