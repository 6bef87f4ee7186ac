"""What ends a job before its last line: told in a sentence."""

from __future__ import annotations

from http.client import TOO_MANY_REQUESTS
from typing import Any

from agents import RubatoError


class JobStopped(RubatoError):
    """The job cannot go on; the message says why, and what to do. What is recorded stays recorded."""

    code = 1  # that the driver exits with


class WrongUsage(JobStopped):
    """The job was given something that it cannot use; nothing was sent."""

    code = 2


class Away(RubatoError):
    """The gateway cannot answer now; the same request may succeed after so many seconds."""

    def __init__(self, why: str, *, after: float = 0.0, document: dict[str, Any] | None = None) -> None:
        super().__init__(why)
        self.after = after
        self.document = document or {}

    @property
    def is_busy(self) -> bool:
        """It is there, and asks for patience."""
        return self.document.get("status") == TOO_MANY_REQUESTS


class Refusal(RubatoError):
    """The gateway has taken none of a batch; its problem document says why."""

    def __init__(self, document: dict[str, Any]) -> None:
        super().__init__(document)
        self.document = document
