"""Keys for tests to call with."""

from __future__ import annotations

from typing import Any

from agents.ids import new_id
from cluster.apikeys import ApiKey, digest_of, new_text
from cluster.client import LedgerClient


async def made(ledger: LedgerClient, tenant: str = "", scopes: str = "run submit admin", **changes: Any) -> str:
    """The text of a new key of this ledger."""
    id = new_id()
    text = new_text(id)
    await ledger.add_key(ApiKey(tenant, id, "test", scopes, digest_of(text.encode()), 0.0)._replace(**changes))
    return text


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}
