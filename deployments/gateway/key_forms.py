"""An API key over HTTP: what may be asked, and what is answered."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, Field, StringConstraints

from agents.policies import YEAR

from .forms import MOST, PAGE, Form, Id, Short, ToCome
from .schemas import Document, Rate

TENANT = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"

Scope = Literal["run", "submit", "admin"]


def _each_once(scopes: list[Scope]) -> list[Scope]:
    if len(set(scopes)) < len(scopes):
        raise ValueError("must name each scope once")
    return scopes


class KeyRate(Form):
    """How often it may be used in how many seconds: so many at once, then once whenever its part of the time is over.

    Each replica and each gateway counts for itself.
    """

    count: Annotated[int, Field(strict=True, ge=1, le=MOST)]
    seconds: Annotated[float, Field(strict=True, ge=0.001, le=YEAR)]


class NewKey(Form):
    """A key to be made. Without a tenant it is the caller's own."""

    name: Annotated[Short, Field(description="what you know it by")]
    scopes: Annotated[
        list[Scope],
        Field(min_length=1, max_length=3, json_schema_extra={"uniqueItems": True}),
        AfterValidator(_each_once),
    ]
    tenant: Annotated[
        Annotated[str, StringConstraints(strict=True, pattern=TENANT)] | None,
        Field(description="whose tasks it sees; another than one's own only where the operator asks"),
    ] = None
    expires_at: ToCome | None = None
    rate: KeyRate | None = None


class KeyQuery(Form):
    """Which page of the keys, the newest first."""

    cursor: Annotated[Id | None, Field(description="`next_cursor` of the page before")] = None
    limit: Annotated[int, Field(ge=1, le=PAGE)] = 50


class Key(Document):
    """A key, without the text that lets anybody in; `tenant` is '' for the operator's own."""

    id: UUID
    name: str
    tenant: str
    scopes: list[Scope]
    rate: Rate | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class MadeKey(Key):
    """A key with its text, `key`, which is shown here and never again."""

    key: str


class KeyList(Document):
    """A page of keys, the newest first; `next_cursor` is null on the last."""

    items: list[Key]
    next_cursor: UUID | None
