"""What ends a command: told in a sentence or as a problem document, never as a traceback.

Not Rubato's own family of errors: importing that takes longer than most commands.
"""

from __future__ import annotations

from typing import Any


class CommandFailed(Exception):
    """The command could not do it; the message says why, and what to do."""


class UsageProblem(CommandFailed):
    """The command was given something that it cannot use; nothing was sent."""


class NotReachable(CommandFailed):
    """No answer came; the message says from where, and what to do."""


class ProblemAnswer(CommandFailed):
    """Rubato answered with a problem document."""

    def __init__(self, document: dict[str, Any]) -> None:
        super().__init__(document)
        self.document = document
