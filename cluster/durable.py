"""How a durable run records: a step is recorded once the ledger has committed it, or as soon as its agent's policy
allows."""

from __future__ import annotations

from agents import Background, Permanent
from agents.errors import InvalidOutput, StepError
from agents.events import Emitted
from agents.journal import StepId, StepRecord
from agents.memory import READ
from agents.waits import Child

from .callees import Callees, called
from .claims import Claim, Entry, StepDone
from .lease import Lease
from .pace import Pace
from .reports import Line

# That an output, a step's value, a child's input and an event may have as JSON, where no other limit is set.
RESULT_BYTES = 2**20

_WAY = "keep what is large with ctx.artifact() and pass on the reference that it returns"


class Durable:
    """The recorder and the keeper of one claim's run. Once the claim is settled or lost, no step starts and none is
    recorded: such a call waits for ever, since nobody is left to hand an error to."""

    __slots__ = ("_arrived", "_callees", "_claim", "_lease", "_limit", "_line", "_pace", "_sync")

    def __init__(
        self,
        claim: Claim,
        policy: Background,
        line: Line,
        lease: Lease,
        pace: Pace,
        callees: Callees,
        arrived: float,
        limit: int = RESULT_BYTES,
    ) -> None:
        """`arrived`: when the claim did, by the clock of `pace`. `limit`: how many bytes may be recorded at once."""
        self._claim = claim
        self._line = line
        self._lease = lease
        self._pace = pace
        self._callees = callees
        self._limit = limit
        self._arrived = arrived
        self._sync = policy.durability == "sync"
        line.lazy = policy.durability == "exit"

    def now(self) -> float:
        """The ledger's clock: what it said with the claim, and how long that is ago."""
        return self._claim.now + self._pace.clock() - self._arrived

    async def may_start(self) -> None:
        """Returns while the lease less its margin holds, or when it does again."""
        if not self._lease.holds():
            await self._lease.held()

    async def record(self, step: StepRecord) -> None:
        """Returns after the commit, where the policy is to wait for it; and always for what was read of a session: a
        write that follows from it must not be followed by another read. Raises StepError for a value over the limit."""
        if excess := beyond(self._limit, step.value):
            raise StepError(str(step.id), f"its value is {excess}")
        await self._put(StepDone(step, self._pace.now()), firmly=step.id.name == READ)

    async def take(self, step: StepRecord, signal: int | None) -> None:
        await self._put(StepDone(step, self._pace.now(), signal))

    def note(self, step: StepRecord) -> None:
        self._line.note(StepDone(step, self._pace.now()))

    async def begin(self, step: StepId) -> None:
        """Returns after the commit, whatever the policy."""
        await self._line.record(Emitted("step.started", str(step), self._pace.now(), "{}"))

    async def call(self, child: Child) -> None:
        """Queues the call. Raises StepError for an input over the limit, and what `called` raises."""
        if excess := beyond(self._limit, child.input):
            raise StepError(str(child.step), f"its input is {excess}")
        await self._line.emit(called(self._claim.task, child, self._callees))
        self._line.flush()

    async def emit(self, event: Emitted) -> None:
        """Queues the event. Raises Permanent for one over the limit."""
        if excess := beyond(self._limit, event.data):
            raise Permanent(f"a {event.type} event is {excess}")
        await self._line.emit(event)

    async def _put(self, entry: Entry, *, firmly: bool = False) -> None:
        if self._sync or firmly:
            await self._line.record(entry)
        else:
            await self._line.emit(entry)


def within_limit(limit: int, output: str) -> str:
    """The output as it is. Raises InvalidOutput for one over the limit."""
    if excess := beyond(limit, output):
        raise InvalidOutput(f"the output is {excess}")
    return output


def beyond(limit: int, text: str) -> str:
    """What to say of a text that has more bytes in UTF-8; '' of one that has not."""
    bytes = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return f"{bytes} bytes, and the limit is {limit}; {_WAY}" if bytes > limit else ""
