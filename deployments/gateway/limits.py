"""Routes of limit keys: how many tasks of each may run at once and start in a time, and which share they get."""

from __future__ import annotations

import math
import time

from starlette.requests import Request
from starlette.responses import Response

from cluster.client import Limit
from cluster.limits import Rule, agent_key
from cluster.task import AGENT_KEY

from .. import bodies
from ..access import OPERATES, caller_of, demand
from ..documents import LATEST, limit_json, list_json
from .answers import json_answer
from .forms import LimitQuery, NewLimit, fill, path_text, query
from .services import Services, tenant_of
from .submitting import ENVELOPE, named_agent


class LimitKeys:
    """`GET /v1/limits`, and `GET` and `PUT /v1/limits/{limit_key}`."""

    def __init__(self, services: Services) -> None:
        self._ledger = services.ledger
        self._catalog = services.catalog

    async def many(self, request: Request) -> Response:
        asked = query(request, LimitQuery)
        caller = caller_of(request.scope)
        found = await self._ledger.limits(caller.tenant, asked.cursor or "", asked.limit + 1, agents=caller.operates)
        page = found[: asked.limit]
        return json_answer(list_json(map(_shown, page), page[-1].rule.key if len(found) > len(page) else None))

    async def one(self, request: Request) -> Response:
        return json_answer(_shown(await self._ledger.limit(*self._owner(request))))

    async def put(self, request: Request) -> Response:
        """The whole of a key's limits; what is not said is no limit."""
        owner = self._owner(request)
        form = fill(NewLimit, bodies.parse(await bodies.read(request, ENVELOPE)))
        count, seconds = (form.rate.count, form.rate.seconds) if form.rate else (None, None)
        until = math.inf if form.paused_until == LATEST else form.paused_until
        rule = Rule(*owner, form.concurrency, count, seconds, form.weight, until)
        return json_answer(limit_json(await self._ledger.set_rule(rule)))

    def _owner(self, request: Request) -> tuple[str, str]:
        """Whose limits these are: (tenant, key); those of an agent are the operator's. Raises Refused."""
        key = path_text(request, "limit_key")
        if key.startswith(AGENT_KEY):
            demand(caller_of(request.scope), OPERATES)
            return agent_key(named_agent(self._catalog, key.removeprefix(AGENT_KEY)).name)
        return tenant_of(request), key


def _shown(limit: Limit) -> str:
    """A pause that is over is none: what is shown may be put again."""
    rule = limit.rule
    if rule.paused_until is not None and rule.paused_until <= time.time():
        limit = limit._replace(rule=rule._replace(paused_until=None))
    return limit_json(limit)
