"""The ledger as other processes reach it: calls to a named actor, straight or through Ray, tried again while it is
away."""

from __future__ import annotations

import asyncio
import logging
import math
import pickle
import time
from collections.abc import Coroutine
from inspect import isfunction
from typing import Any, cast

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from agents import RubatoError

from .apikeys import ApiKey
from .claims import Answer, Beat, Hello, HolderLink, Orders, Picture, Promotion, Report, WorkerLink
from .client import Batch, Counts, Demand, EventPage, Keys, LedgerClient, Limit, Why
from .direct import Away, Direct, NoDoor
from .door import Door
from .errors import Unavailable
from .limits import Rule
from .pool import Losses
from .schedule import Schedule
from .sessions import Memory, SessionLink
from .stats import Figures, Measures
from .task import Filter, Once, Step, Submission, Submitted, Task

NAMESPACE = "rubato"
LEDGER = "ledger-0"
POOL = "pool"
PATIENCE = 15.0  # seconds a request is tried again while the ledger is away
DETOUR = 30.0  # seconds for which calls go through Ray once the door could not be reached

METHODS = tuple(
    name
    for contract in (LedgerClient, SessionLink, WorkerLink, HolderLink, Losses)
    for name, member in vars(contract).items()
    if isfunction(member) and not name.startswith("_")
)
"""What may be called through the ledger's door: all that those who reach it have agreed on with it."""

log = logging.getLogger("rubato.remote")


class Answering:
    """An actor that answers to `Remote`: one entry for every method.

    Calls and answers travel as bytes of our own pickling: Ray's pickler asks Python about every record in them, which
    costs a worker with forty reports more than all the rest of the call.
    """

    async def ask(self, packed: bytes) -> bytes:
        """Call the method that `packed` names, and pack what it returns, or the RubatoError it raises."""
        method, args, named = pickle.loads(packed)
        try:
            outcome = True, await self.found(method)(*args, **named)
        except RubatoError as error:
            outcome = False, error
        return pickle.dumps(outcome, pickle.HIGHEST_PROTOCOL)

    def found(self, method: str) -> Any:
        """What is called by that name."""
        return getattr(self, method)

    def refusal(self, error: RubatoError) -> bytes:
        """What `ask` answers where a method raises this."""
        return pickle.dumps((False, error), pickle.HIGHEST_PROTOCOL)


class Remote:
    """A named actor that may be away for a while: it restarts, and its handle stays good."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._handle: Any = None

    async def call(self, method: str, *args: Any, patience: float = 0.0, **named: Any) -> Any:
        """What the method returns; what it raises is raised here. Raises Unavailable when the actor has been away for
        longer than `patience`, however long it had waited with the answer before."""
        ends, pause = math.inf, 0.02
        while True:
            try:
                return await self._once(method, args, named)
            except Away as error:
                ends = min(ends, time.monotonic() + patience)
                if time.monotonic() + pause > ends:
                    raise Unavailable(f"{self._name} does not answer: {error}") from error
            await asyncio.sleep(pause)
            pause = min(0.5, pause * 2)

    def call_blocking(self, method: str, *args: Any, seconds: float) -> Any:
        """The same from a thread that has no loop, once, for so long."""
        packed = pickle.dumps((method, args, {}), pickle.HIGHEST_PROTOCOL)
        try:
            return _unpacked(ray.get(self.handle().ask.remote(packed), timeout=seconds))
        except RayTaskError as error:
            raise _cause(error) from None
        except (RayError, Away) as error:
            self._handle = None
            raise Unavailable(f"{self._name} does not answer: {_brief(error)}") from error

    def handle(self) -> Any:
        """The actor's handle. Raises Away where there is none of that name, yet."""
        if self._handle is None:
            try:
                self._handle = ray.get_actor(self._name, namespace=NAMESPACE)
            except ValueError as error:
                raise Away(_brief(error)) from error
        return self._handle

    async def _once(self, method: str, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """One try. Raises Away."""
        packed = pickle.dumps((method, args, named), pickle.HIGHEST_PROTOCOL)
        try:
            return _unpacked(await self.handle().ask.remote(packed))
        except RayTaskError as error:
            raise _cause(error) from None
        except RayActorError as error:
            self._handle = None
            raise Away(_brief(error)) from error


class Near(Remote):
    """An actor with a door: calls go straight to it, and through Ray only where the door cannot be reached."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._direct = Direct(self._find)
        self._no_door_until = 0.0
        self._no_door = ""

    def close(self) -> None:
        """Hang up; the next call connects again."""
        self._direct.close()

    async def _once(self, method: str, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        if time.monotonic() >= self._no_door_until:
            try:
                return await self._direct.call(method, args, named)
            except NoDoor as error:
                self._no_door_until = time.monotonic() + DETOUR
                if str(error) != self._no_door:  # said once, not every time it is so
                    log.warning("calls to %s go through Ray: %s", self._name, error)
                    self._no_door = str(error)
        return await super()._once(method, args, named)

    async def _find(self) -> Door | None:
        try:
            return cast(Door | None, await super()._once("door", (), {}))
        except asyncio.CancelledError:  # it took too long: what this handle knows of its actor may be out of date
            self._handle = None
            raise


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
    """LedgerClient for gateways."""

    def __init__(self, name: str = LEDGER, patience: float = PATIENCE) -> None:
        self._ledger = Near(name)
        self._patience = patience

    async def submit(self, submission: Submission) -> Submitted:
        return cast(Submitted, await self._ask("submit", submission))

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

    async def steps(self, tenant: str, id: str, after: int = -1) -> list[Step] | None:
        return cast(list[Step] | None, await self._ask("steps", tenant, id, after))

    async def counts(self) -> Counts:
        return cast(Counts, await self._ledger.call("counts"))

    async def figures(self) -> Figures:
        return cast(Figures, await self._ledger.call("figures"))

    async def oldest(self) -> dict[str, float]:
        return cast(dict[str, float], await self._ledger.call("oldest"))

    async def measures(self) -> Measures:
        return cast(Measures, await self._ledger.call("measures"))

    async def demand(self) -> tuple[Demand, ...]:
        return cast(tuple[Demand, ...], await self._ledger.call("demand"))

    async def why(self, tenant: str, id: str) -> Why | None:
        return cast(Why | None, await self._ask("why", tenant, id))

    async def retry(self, tenant: str, id: str, once: Once | None = None) -> Task | None:
        return cast(Task | None, await self._ask("retry", tenant, id, once))

    async def cancel_all(self, tenant: str, filter: Filter) -> int:
        return cast(int, await self._ask("cancel_all", tenant, filter))

    async def retry_all(self, tenant: str, filter: Filter) -> int:
        return cast(int, await self._ask("retry_all", tenant, filter))

    async def fork(
        self,
        tenant: str,
        id: str,
        from_step: str,
        *,
        new_id: str,
        input: str | None,
        version: str,
        once: Once | None = None,
    ) -> Task | None:
        how = {"new_id": new_id, "input": input, "version": version, "once": once}
        return cast(Task | None, await self._ask("fork", tenant, id, from_step, **how))

    async def signal(self, tenant: str, id: str, name: str, payload: str, once: Once | None = None) -> Task | None:
        return cast(Task | None, await self._ask("signal", tenant, id, name, payload, once))

    async def limit(self, tenant: str, key: str) -> Limit:
        return cast(Limit, await self._ask("limit", tenant, key))

    async def limits(self, tenant: str, after: str, limit: int, *, agents: bool = True) -> list[Limit]:
        return cast(list[Limit], await self._ask("limits", tenant, after, limit, agents=agents))

    async def set_rule(self, rule: Rule) -> Limit:
        return cast(Limit, await self._ask("set_rule", rule))

    async def pause(self, agent: str, until: float | None) -> None:
        await self._ask("pause", agent, until)

    async def batch(self, tenant: str, batch_id: str) -> Batch | None:
        return cast(Batch | None, await self._ask("batch", tenant, batch_id))

    async def in_batch(self, tenant: str, batch_id: str, after: str, limit: int) -> list[Task]:
        return cast(list[Task], await self._ask("in_batch", tenant, batch_id, after, limit))

    async def schedules(self, tenant: str, after: str, limit: int) -> list[Schedule]:
        return cast(list[Schedule], await self._ask("schedules", tenant, after, limit))

    async def schedule(self, tenant: str, name: str) -> Schedule | None:
        return cast(Schedule | None, await self._ask("schedule", tenant, name))

    async def put_schedule(self, schedule: Schedule, paused: bool | None) -> tuple[Schedule, bool]:
        return cast(tuple[Schedule, bool], await self._ask("put_schedule", schedule, paused))

    async def delete_schedule(self, tenant: str, name: str) -> bool:
        return cast(bool, await self._ask("delete_schedule", tenant, name))

    async def pause_schedule(self, tenant: str, name: str, paused: bool) -> Schedule | None:
        return cast(Schedule | None, await self._ask("pause_schedule", tenant, name, paused))

    async def add_key(self, key: ApiKey) -> ApiKey:
        return cast(ApiKey, await self._ask("add_key", key))

    async def revoke_key(self, tenant: str | None, id: str) -> ApiKey | None:
        return cast(ApiKey | None, await self._ask("revoke_key", tenant, id))

    async def key(self, tenant: str | None, id: str) -> ApiKey | None:
        return cast(ApiKey | None, await self._ask("key", tenant, id))

    async def keys(self, tenant: str | None, after: str | None, limit: int) -> list[ApiKey]:
        return cast(list[ApiKey], await self._ask("keys", tenant, after, limit))

    async def keys_since(self, version: str) -> Keys | None:
        return cast(Keys | None, await self._ledger.call("keys_since", version))

    async def memory(self, tenant: str, agent: str, session: str) -> Memory:
        return cast(Memory, await self._ask("memory", tenant, agent, session))

    async def remember(
        self, tenant: str, agent: str, session: str, version: int, value: str, writer: str = ""
    ) -> Memory:
        return cast(Memory, await self._ask("remember", tenant, agent, session, version, value, writer))

    async def worker_lost(self, worker: str, *, fault: bool) -> None:
        """For the pool, which has nothing better to do than to try for ever."""
        await self._ledger.call("worker_lost", worker, fault=fault, patience=float("inf"))

    async def release(self, agent: str, lane: str, reason: str) -> int:
        return cast(int, await self._ask("release", agent, lane, reason))

    async def holders(self) -> dict[str, int]:
        return cast(dict[str, int], await self._ledger.call("holders", patience=float("inf")))

    def _ask(self, method: str, *args: Any, **named: Any) -> Coroutine[Any, Any, Any]:
        return self._ledger.call(method, *args, patience=self._patience, **named)


class RemoteLink:
    """WorkerLink and HolderLink over the named actor; each call is tried once, since the worker knows how to go on."""

    def __init__(self, name: str = LEDGER) -> None:
        self._ledger = Near(name)
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

    async def promote(self, worker: Hello, call: int, promotion: Promotion) -> Task:
        return cast(Task, await self._ledger.call("promote", worker, call, promotion))

    async def memory(self, tenant: str, agent: str, session: str) -> Memory:
        return cast(Memory, await self._ledger.call("memory", tenant, agent, session))

    async def remember(
        self, tenant: str, agent: str, session: str, version: int, value: str, writer: str = ""
    ) -> Memory:
        return cast(Memory, await self._ledger.call("remember", tenant, agent, session, version, value, writer))

    def beat(self, worker: str, seen: Picture) -> Beat:
        return cast(Beat, self._ledger.call_blocking("beat", worker, seen, seconds=5.0))
