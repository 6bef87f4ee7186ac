"""An API key: who holds it may act for a tenant, as far as its scopes go, until it expires or is revoked."""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import NamedTuple

RUN, SUBMIT, ADMIN = "run", "submit", "admin"
SCOPES = (RUN, SUBMIT, ADMIN)
OPERATOR = ""  # the tenant whose admin keys act for all of Rubato

# Secret scanners find a key by this form. The id is in it so that whoever finds one knows which to revoke.
FORM = re.compile(r"rbt_([0-9a-f]{32})_[A-Za-z0-9_-]{43,128}", re.ASCII)


class ApiKey(NamedTuple):
    """What is kept of a key: nothing that lets anybody in."""

    tenant: str
    id: str
    name: str
    scopes: str  # in the order of SCOPES, with a blank between them
    digest: str  # of the key's text
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None
    rate_count: int | None = None  # requests ...
    rate_seconds: float | None = None  # ... in so many seconds, to each process that takes them

    @property
    def allowed(self) -> frozenset[str]:
        return frozenset(self.scopes.split())

    @property
    def operator(self) -> bool:
        """Whether it may do what concerns all tenants."""
        return self.tenant == OPERATOR and ADMIN in self.allowed

    def usable(self, now: float) -> bool:
        """Whether it lets anybody in at this moment."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


def new_text(id: str) -> str:
    """The text of a new key: 256 bits by chance, which nobody but its holder has."""
    return f"rbt_{id.replace('-', '')}_{secrets.token_urlsafe(32)}"


def id_of(text: str) -> str | None:
    """The id in the text of a key, None where it does not have the form of one."""
    found = FORM.fullmatch(text)
    if found is None:
        return None
    id = found[1]
    return f"{id[:8]}-{id[8:12]}-{id[12:16]}-{id[16:20]}-{id[20:]}"


def digest_of(text: bytes) -> str:
    """What is kept in the place of a key's text.

    One plain SHA-256, no slow derivation: that protects passwords, which can be guessed; 256 bits by chance cannot,
    and every request would pay for it.
    """
    return hashlib.sha256(text).hexdigest()


def write_scopes(scopes: frozenset[str]) -> str:
    """Scopes as a key has them."""
    return " ".join(scope for scope in SCOPES if scope in scopes)
