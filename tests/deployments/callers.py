"""Requests of a caller who has been let in, for applications without a Guard before them."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.access import ANYBODY, CALLER, CHECKS, Caller


class Always:
    """Lets a caller stay whom it has let in."""

    def is_good(self, caller: Caller) -> bool:
        return True

    def check(self, headers: Iterable[tuple[bytes, bytes]]) -> Caller:
        return ANYBODY


def called_by(app: ASGIApp, caller: Caller = ANYBODY) -> ASGIApp:
    """The application, whoever asks being this caller."""

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, CALLER: caller, CHECKS: Always()}, receive, send)

    return call
