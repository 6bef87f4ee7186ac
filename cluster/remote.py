"""The ledger as other processes reach it: calls to a named actor, tried again while it is away."""

from __future__ import annotations

import asyncio
import pickle
import time
from collections.abc import Sequence
from typing import Any, cast

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from agents import RubatoError

from .claims import Answer, Beat, Held, Hello, Orders, Report
from .client import Batch, Counts, EventPage, Why
from .errors import Unavailable
from .limits import Rule
from .stats import Figures
from .task import Filter, Step, Submission, Submitted, Task

NAMESPACE = "rubato"
LEDGER = "ledger-0"
POOL = "pool"
PATIENCE = 15.0  # seconds a request is tried again while the ledger is away


class Answering:
    """An actor that answers to `Remote`: one entry for every method.

    Calls and answers travel as bytes of our own pickling: Ray's pickler asks Python about every record in them, which
    costs a worker with forty reports more than all the rest of the call.
    """

    async def ask(self, packed: bytes) -> bytes:
        """Call the method that `packed` names, and pack what it returns, or the RubatoError it raises."""
        method, args, named = pickle.loads(packed)
        try:
            outcome = True, await getattr(self, method)(*args, **named)
        except RubatoError as error:
            outcome = False, error
        return pickle.dumps(outcome, pickle.HIGHEST_PROTOCOL)


class Remote:
    """A named actor that may be away for a while: it restarts, and its handle stays good."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._handle: Any = None

    async def call(self, method: str, *args: Any, patience: float = 0.0, **named: Any) -> Any:
        """What the method returns; what it raises is raised here. Raises Unavailable when `patience` is over."""
        ends = time.monotonic() + patience
        pause = 0.02
        packed = pickle.dumps((method, args, named), pickle.HIGHEST_PROTOCOL)
        while True:
            try:
                return _unpacked(await self.handle().ask.remote(packed))
            except RayTaskError as error:
                raise _cause(error) from None
            except (RayActorError, ValueError) as error:  # ValueError: no actor of that name, yet
                self._handle = None
                if time.monotonic() + pause > ends:
                    raise Unavailable(f"{self._name} does not answer: {_brief(error)}") from error
            await asyncio.sleep(pause)
            pause = min(0.5, pause * 2)

    def call_blocking(self, method: str, *args: Any, seconds: float) -> Any:
        """The same from a thread that has no loop, once, for so long."""
        packed = pickle.dumps((method, args, {}), pickle.HIGHEST_PROTOCOL)
        try:
            return _unpacked(ray.get(self.handle().ask.remote(packed), timeout=seconds))
        except RayTaskError as error:
            raise _cause(error) from None
        except (RayError, ValueError) as error:
            self._handle = None
            raise Unavailable(f"{self._name} does not answer: {_brief(error)}") from error

    def handle(self) -> Any:
        """The actor's handle. Raises ValueError where there is none of that name."""
        if self._handle is None:
            self._handle = ray.get_actor(self._name, namespace=NAMESPACE)
        return self._handle


def _unpacked(packed: bytes) -> Any:
    """What the method returned; what it raised is raised here."""
    well, outcome = pickle.loads(packed)
    if not well:
        raise outcome
    return outcome


def _cause(error: RayTaskError) -> Exception:
    cause = error.cause
    return cause if isinstance(cause, Exception) else error


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"


class RemoteLedger:
    """LedgerClient for gateways. Submissions that arrive while one is on its way travel together in the next call."""

    def __init__(self, name: str = LEDGER, patience: float = PATIENCE) -> None:
        self._ledger = Remote(name)
        self._patience = patience
        self._waiting: list[tuple[Submission, asyncio.Future[Submitted]]] = []
        self._sender: asyncio.Task[None] | None = None

    async def submit(self, submission: Submission) -> Submitted:
        accepted: asyncio.Future[Submitted] = asyncio.get_running_loop().create_future()
        self._waiting.append((submission, accepted))
        if self._sender is None or self._sender.done():
            self._sender = asyncio.create_task(self._send())
        return await accepted

    async def _send(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                outcomes = await self._ask("submit_many", tuple(submission for submission, _ in batch))
            except Exception as error:  # noqa: BLE001 - whatever it is, each of those who wait must hear it
                outcomes = [error] * len(batch)
            for (_, accepted), outcome in zip(batch, cast(Sequence[Submitted | Exception], outcomes), strict=True):
                if accepted.done():
                    continue
                if isinstance(outcome, Exception):
                    accepted.set_exception(outcome)
                else:
                    accepted.set_result(outcome)

    async def submit_and_wait(self, submission: Submission, wait: float) -> tuple[Submitted, Task | None]:
        return cast(tuple[Submitted, Task | None], await self._ask("submit_and_wait", submission, wait))

    async def task(self, tenant: str, id: str, wait: float = 0) -> Task | None:
        return cast(Task | None, await self._ask("task", tenant, id, wait))

    async def tasks(self, tenant: str, filter: Filter, after: str | None, limit: int) -> list[Task]:
        return cast(list[Task], await self._ask("tasks", tenant, filter, after, limit))

    async def cancel(self, tenant: str, id: str) -> Task | None:
        return cast(Task | None, await self._ask("cancel", tenant, id))

    async def events(self, tenant: str, id: str, after: int, wait: float) -> EventPage | None:
        return cast(EventPage | None, await self._ask("events", tenant, id, after, wait))

    async def steps(self, tenant: str, id: str) -> list[Step] | None:
        return cast(list[Step] | None, await self._ask("steps", tenant, id))

    async def counts(self) -> Counts:
        return cast(Counts, await self._ledger.call("counts"))

    async def figures(self) -> Figures:
        return cast(Figures, await self._ledger.call("figures"))

    async def oldest(self) -> dict[str, float]:
        return cast(dict[str, float], await self._ledger.call("oldest"))

    async def why(self, tenant: str, id: str) -> Why | None:
        return cast(Why | None, await self._ask("why", tenant, id))

    async def retry(self, tenant: str, id: str) -> Task | None:
        return cast(Task | None, await self._ask("retry", tenant, id))

    async def cancel_all(self, tenant: str, filter: Filter) -> int:
        return cast(int, await self._ask("cancel_all", tenant, filter))

    async def retry_all(self, tenant: str, filter: Filter) -> int:
        return cast(int, await self._ask("retry_all", tenant, filter))

    async def fork(
        self, tenant: str, id: str, from_step: str, *, new_id: str, input: str | None, version: str
    ) -> Task | None:
        found = await self._ask("fork", tenant, id, from_step, new_id=new_id, input=input, version=version)
        return cast(Task | None, found)

    async def signal(self, tenant: str, id: str, name: str, payload: str) -> Task | None:
        return cast(Task | None, await self._ask("signal", tenant, id, name, payload))

    async def rules(self, tenant: str) -> list[Rule]:
        return cast(list[Rule], await self._ask("rules", tenant))

    async def set_rule(self, rule: Rule) -> Rule:
        return cast(Rule, await self._ask("set_rule", rule))

    async def pause(self, agent: str, until: float | None) -> None:
        await self._ask("pause", agent, until)

    async def batch(self, tenant: str, batch_id: str) -> Batch | None:
        return cast(Batch | None, await self._ask("batch", tenant, batch_id))

    async def in_batch(self, tenant: str, batch_id: str, after: str, limit: int) -> list[Task]:
        return cast(list[Task], await self._ask("in_batch", tenant, batch_id, after, limit))

    async def worker_lost(self, worker: str, *, fault: bool) -> None:
        """For the pool, which has nothing better to do than to try for ever."""
        await self._ledger.call("worker_lost", worker, fault=fault, patience=float("inf"))

    async def holders(self) -> list[str]:
        return cast(list[str], await self._ledger.call("holders", patience=float("inf")))

    async def _ask(self, method: str, *args: Any, **named: Any) -> Any:
        return await self._ledger.call(method, *args, patience=self._patience, **named)


class RemoteLink:
    """WorkerLink over the named actor; each call is tried once, since the worker knows how to go on."""

    def __init__(self, name: str = LEDGER) -> None:
        self._ledger = Remote(name)
        self._answered_at = time.monotonic()

    @property
    def silence(self) -> float:
        """Seconds since the ledger last answered anything."""
        return time.monotonic() - self._answered_at

    async def pull(self, worker: Hello, call: int) -> Orders:
        orders = cast(Orders, await self._ledger.call("pull", worker, call))
        self._answered_at = time.monotonic()
        return orders

    async def report(self, worker: Hello, call: int, reports: tuple[Report, ...]) -> Answer:
        answer = cast(Answer, await self._ledger.call("report", worker, call, reports))
        self._answered_at = time.monotonic()
        return answer

    def beat(self, worker: str, latest: int, open: tuple[int, ...], held: tuple[Held, ...]) -> Beat:
        return cast(Beat, self._ledger.call_blocking("beat", worker, latest, open, held, seconds=5.0))
