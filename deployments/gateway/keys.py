"""Routes of API keys: the text of one is shown when it is made, and kept nowhere."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from agents.ids import derived_id, is_id, new_id
from cluster.apikeys import ApiKey, digest_of, new_text, write_scopes

from .. import bodies
from ..access import ADMINISTERS, OPERATES, Caller, caller_of, demand
from ..documents import key_json, list_json
from ..problems import Problem, Refused, conflict, not_found
from . import documented as doc
from . import key_forms as forms
from .answers import Found, certain, json_answer
from .forms import fill, no_fields, query
from .headers import idempotency_key
from .services import Services
from .submitting import ENVELOPE

ROUTE = "/v1/keys"
KEY_ID = doc.parameter("id", "path", {"type": "string", "format": "uuid"}, "The key's.")


class ApiKeys:
    """`/v1/keys` and what lies below it: the operator's callers see all keys, a tenant's own admin the tenant's."""

    def __init__(self, services: Services) -> None:
        self._ledger = services.ledger

    async def make(self, request: Request) -> Response:
        caller, once = caller_of(request.scope), idempotency_key(request)
        form = fill(forms.NewKey, bodies.parse(await bodies.read(request, ENVELOPE)))
        tenant = caller.tenant if form.tenant is None else form.tenant
        if tenant != caller.tenant:
            demand(caller, OPERATES)
        id = derived_id(caller.tenant, ROUTE, once) if once else new_id()
        if once and await self._ledger.key(None, id) is not None:
            raise Refused(_shown_before(id))
        text = new_text(id)
        count, seconds = (form.rate.count, form.rate.seconds) if form.rate else (None, None)
        scopes, digest = write_scopes(frozenset(form.scopes)), digest_of(text.encode())
        with certain():
            key = await self._ledger.add_key(
                ApiKey(tenant, id, form.name, scopes, digest, 0.0, form.expires_at, None, count, seconds)
            )
        headers = [("Location", f"{ROUTE}/{id}"), ("Cache-Control", "no-store")]
        return json_answer(key_json(key, text), 201, headers)

    async def many(self, request: Request) -> Response:
        asked = query(request, forms.KeyQuery)
        found = await self._ledger.keys(_whose(caller_of(request.scope)), asked.cursor, asked.limit + 1)
        page = found[: asked.limit]
        return json_answer(list_json(map(key_json, page), page[-1].id if len(found) > len(page) else None))

    async def one(self, request: Request) -> Response:
        id = _key_id(request)
        return json_answer(key_json(_known(await self._ledger.key(_whose(caller_of(request.scope)), id), id)))

    async def revoke(self, request: Request) -> Response:
        id = _key_id(request)
        await no_fields(request, "A revocation")
        return json_answer(key_json(_known(await self._ledger.revoke_key(_whose(caller_of(request.scope)), id), id)))


def add_keys(app: FastAPI, keys: ApiKeys) -> None:
    doc.route(
        app,
        "GET /v1/keys",
        keys.many,
        "Keys, the newest first",
        *doc.queries(forms.KeyQuery),
        answers={200: forms.KeyList},
        need=ADMINISTERS,
    )
    doc.route(
        app,
        "POST /v1/keys",
        keys.make,
        "Make a key; the first must have the scope admin and no tenant, and from it on nobody gets in without a key",
        doc.KEY,
        body=forms.NewKey,
        answers={201: forms.MadeKey},
        problems=[400, 409, 413],
        need=ADMINISTERS,
    )
    doc.route(
        app,
        "GET /v1/keys/{id}",
        keys.one,
        "One key",
        KEY_ID,
        answers={200: forms.Key},
        problems=[404],
        need=ADMINISTERS,
    )
    doc.route(
        app,
        "DELETE /v1/keys/{id}",
        keys.revoke,
        "Revoke a key: a few seconds later it lets nobody in. It is still shown, as revoked",
        KEY_ID,
        answers={200: forms.Key},
        problems=[400, 404, 413],
        need=ADMINISTERS,
    )


def _whose(caller: Caller) -> str | None:
    """Whose keys this caller has to do with; None is everybody's."""
    return None if caller.operates else caller.tenant


def _shown_before(id: str) -> Problem:
    detail = (
        f"With this Idempotency-Key the key {id} was made before; its text was shown then and is not kept. "
        "If you do not have it, revoke that key and make another."
    )
    return conflict(detail)


def _key_id(request: Request) -> str:
    """The id in the path. Raises Refused (404) where it cannot be one."""
    id: str = request.path_params["id"]
    return _known(id if is_id(id) else None, id)


def _known(found: Found | None, id: str) -> Found:
    """What the ledger found. Raises Refused (404) for nothing."""
    if found is None:
        raise Refused(not_found("key", f"There is no key {id[:80]!r}; GET /v1/keys lists those there are."))
    return found
