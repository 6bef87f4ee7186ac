"""Who calls, and what a route asks of its caller."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any, Protocol

from cluster.apikeys import ADMIN, OPERATOR, RUN, SCOPES, SUBMIT

from .problems import Refused, forbidden

CALLER = "rubato.caller"  # where an ASGI scope says who calls ...
CHECKS = "rubato.checks"  # ... and who can tell whether that still holds


@dataclass(frozen=True, slots=True)
class Need:
    """What a route asks of its caller: one of these scopes (none: any key will do), and perhaps to be the operator."""

    scopes: frozenset[str] = frozenset()
    operator: bool = False


READS = Need()
RUNS = Need(frozenset([RUN]))
SUBMITS = Need(frozenset([SUBMIT]))
UPLOADS = Need(frozenset([RUN, SUBMIT]))
ADMINISTERS = Need(frozenset([ADMIN]))
OPERATES = Need(frozenset([ADMIN]), operator=True)


@dataclass(frozen=True, slots=True)
class Caller:
    """For whom a request is made, and how far it may go."""

    tenant: str
    scopes: frozenset[str]
    key: str = ""  # the id of the key; '' where none is needed

    @property
    def submits(self) -> bool:
        """Whether the caller may have tasks, and so whether a run may become one."""
        return SUBMIT in self.scopes

    @property
    def operates(self) -> bool:
        """Whether the caller may do what concerns all tenants."""
        return ADMIN in self.scopes and self.tenant == OPERATOR

    def may(self, need: Need) -> bool:
        if need.operator:
            return self.operates
        return not need.scopes or not need.scopes.isdisjoint(self.scopes)


ANYBODY = Caller(OPERATOR, frozenset(SCOPES))  # where there are no keys


def caller_of(scope: MutableMapping[str, Any]) -> Caller:
    """Who calls, as the Guard before the application has found."""
    caller: Caller = scope[CALLER]
    return caller


class Checks(Protocol):
    """Whoever let a caller in."""

    def is_good(self, caller: Caller) -> bool:
        """Whether the caller would be let in now."""

    def check(self, headers: Iterable[tuple[bytes, bytes]]) -> Caller:
        """Who calls with these headers. Raises Refused."""


def is_good(scope: MutableMapping[str, Any]) -> bool:
    """Whether the caller would still be let in: what lasts for long is to ask it now and then, and to end where not."""
    checks: Checks = scope[CHECKS]
    return checks.is_good(caller_of(scope))


def check_again(scope: MutableMapping[str, Any]) -> None:
    """Each thing that is asked over one connection counts. Raises Refused where the caller is not let in any more, or
    asks too often."""
    checks: Checks = scope[CHECKS]
    checks.check(scope["headers"])


def demand(caller: Caller, need: Need) -> None:
    """Raises Refused (403) where the caller's key does not go so far."""
    if not caller.may(need):
        wanted = " or ".join(scope for scope in SCOPES if scope in need.scopes)
        whose = " and no tenant" if need.operator else ""
        has = ", ".join(scope for scope in SCOPES if scope in caller.scopes)
        raise Refused(forbidden(f"This needs a key with the scope {wanted}{whose}; yours has: {has}.", wanted))
