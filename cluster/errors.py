"""What the ledger answers when it cannot do as asked, one class for each reaction of the caller."""

from __future__ import annotations

from agents import RubatoError


class Conflict(RubatoError):
    """The request contradicts what is stored; sending it again will not help."""


class Expired(RubatoError):
    """A task's deadline had passed before it was accepted; only with another deadline it can be."""


class Unavailable(RubatoError):
    """The ledger or its store cannot answer now; the same request may succeed after `retry_after` seconds."""

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message, retry_after)
        self.retry_after = retry_after

    def __str__(self) -> str:
        return str(self.args[0])


class Superseded(Unavailable):
    """Another ledger has the store for good: whoever holds claims of this one holds nothing any more."""


class Fenced(RubatoError):
    """Someone else owns the store now; this ledger must not write again."""


class StoreProblem(RubatoError):
    """The store is missing, is another one, or is in use; the message says which and what to do."""
