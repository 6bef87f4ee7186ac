"""How a durable run records: a step is recorded once the ledger has committed it."""

from __future__ import annotations

import time
from collections.abc import Callable

from agents import Permanent
from agents.errors import InvalidOutput, StepError
from agents.events import Emitted
from agents.journal import StepRecord

from .claims import StepDone
from .lease import Lease
from .reports import Line

RESULT_LIMIT = 2**20  # bytes of an output, of a step's value and of an event, as JSON

_WAY = "keep what is large with ctx.artifact() and pass on the reference that it returns"


class Durable:
    """The recorder of one claim's run. Once the claim is settled or lost, no step starts and none is recorded: such
    a call waits for ever, since nobody is left to hand an error to."""

    __slots__ = ("_lease", "_line", "_now")

    def __init__(self, line: Line, lease: Lease, now: Callable[[], float] = time.time) -> None:
        self._line = line
        self._lease = lease
        self._now = now

    async def may_start(self) -> None:
        """Returns while the lease less its margin holds, or when it does again."""
        if not self._lease.holds():
            await self._lease.held()

    async def record(self, step: StepRecord) -> None:
        """Returns after the commit. Raises StepError for a value over RESULT_LIMIT."""
        bytes = size(step.value)
        if bytes > RESULT_LIMIT:
            raise StepError(str(step.id), f"its value is {bytes} bytes, and the limit is {RESULT_LIMIT}; {_WAY}")
        await self._line.record(StepDone(step, self._now()))

    async def emit(self, event: Emitted) -> None:
        """Queues the event. Raises Permanent for one over RESULT_LIMIT."""
        bytes = size(event.data)
        if bytes > RESULT_LIMIT:
            raise Permanent(f"a {event.type} event is {bytes} bytes, and the limit is {RESULT_LIMIT}; {_WAY}")
        await self._line.emit(event)


def within_limit(output: str) -> str:
    """The output as it is. Raises InvalidOutput for one over RESULT_LIMIT."""
    bytes = size(output)
    if bytes > RESULT_LIMIT:
        raise InvalidOutput(f"the output is {bytes} bytes, and the limit is {RESULT_LIMIT}; {_WAY}")
    return output


def size(text: str) -> int:
    """How many bytes this text is in UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
