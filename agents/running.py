"""A run's context: steps are looked up, run and recorded here, whoever records them."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from pydantic import ValidationError
from pydantic.errors import PydanticUserError

from . import values
from .artifacts import Artifact, ArtifactStore, keep
from .calling import call, heeding_cancel
from .context import Mode
from .errors import RubatoError, StepError
from .events import Emit, Emitted, written
from .ids import derived_id
from .journal import Cursor, Journal, StepId, StepRecord
from .returns import return_type

_step: ContextVar[StepId | None] = ContextVar("rubato_step", default=None)
_MARK = "rubato_step"  # where an error says which step raised it


@dataclass(frozen=True, slots=True)
class RunFacts:
    """Who and where a run is; `timeout` is in seconds from now, `emitted` what earlier attempts sent outside steps."""

    mode: Mode
    task_id: str
    timeout: float
    attempt: int = 1
    tenant: str = ""
    emitted: int = 0


class Recorder(Protocol):
    """Where a host keeps what its run has reached."""

    async def may_start(self) -> None:
        """Returns when a step may begin; a host that lost the run never lets it."""

    async def record(self, step: StepRecord) -> None:
        """Returns when the step is recorded as firmly as this host promises."""

    async def emit(self, event: Emitted) -> None:
        """Takes the event; its order among events and steps is kept."""


class RunContext:
    """The Context of one run, over a journal of what is recorded and a recorder for what comes."""

    def __init__(self, facts: RunFacts, journal: Journal, recorder: Recorder, artifacts: ArtifactStore) -> None:
        self._facts = facts
        self._journal = journal
        self._recorder = recorder
        self._artifacts = artifacts
        self._cursor = Cursor()
        self._emits: Counter[StepId | None] = Counter()
        self._ends = time.monotonic() + facts.timeout
        self._started_at = datetime.now(UTC)

    @property
    def mode(self) -> Mode:
        return self._facts.mode

    @property
    def task_id(self) -> str:
        return self._facts.task_id

    @property
    def attempt(self) -> int:
        return self._facts.attempt

    @property
    def tenant(self) -> str:
        return self._facts.tenant

    @property
    def deadline(self) -> datetime:
        return self._started_at + timedelta(seconds=self._facts.timeout)

    def remaining(self) -> float:
        return max(0.0, self._ends - time.monotonic())

    @property
    def step_key(self) -> str:
        step = _step.get()
        if step is None:
            raise RubatoError("step_key is asked for outside of a step")
        return derived_id(self._facts.tenant, self._facts.task_id, step.name, step.key)

    async def step(
        self,
        name: str,
        fn: Callable[..., Any],
        *args: Any,
        key: str | None = None,
        returns: Any = None,
        cancellable: bool = True,
    ) -> Any:
        """The recorded value of this step, or what `fn(*args)` gives now, once that is recorded."""
        outer = _step.get()
        if outer is not None and key is None:
            raise StepError(name, f"runs inside of step {str(outer)!r}, which a replay skips; give it a key=")
        with self._cursor.enter(name, key) as step:
            digest = _digest(step, args)
            kind = _type(step, fn, returns)
            recorded = self._journal.find(step, digest)
            if recorded is not None:
                return _read(step, kind, recorded.value)
            await self._recorder.may_start()
            with heeding_cancel():
                value = await asyncio.ensure_future(_call(step, fn, args, cancellable))
                return await self._record(step, digest, kind, value)

    async def _record(self, step: StepId, digest: str, kind: Any, value: Any) -> Any:
        """Record the value and return it as every replay will: as it comes back from JSON."""
        text = _write(step, kind, value)
        read = _read(step, kind, text)
        record = StepRecord(step, digest, text)
        await self._recorder.record(record)
        self._journal.add(record)
        return read

    async def emit(self, event: Emit) -> None:
        """Tell the listeners, unless an earlier attempt already did."""
        data = written(event)
        step = _step.get()
        number = self._emits[step]
        self._emits[step] += 1
        if step is None and number < self._facts.emitted:
            return
        await self._recorder.emit(Emitted(event.type, str(step or ""), time.time(), data))

    async def artifact(
        self, data: bytes | Path, *, name: str = "", media_type: str = "application/octet-stream"
    ) -> Artifact:
        """Keep the bytes and return the reference to them."""

        def write() -> Artifact:
            content = data.read_bytes() if isinstance(data, Path) else data
            return keep(self._artifacts, content, name=name, media_type=media_type)

        return await asyncio.to_thread(write)


def failed_step(error: BaseException) -> str | None:
    """The step that raised this error, or was refused with it; None if it came from outside of steps."""
    if isinstance(error, StepError):
        return error.step
    step = error.__dict__.get(_MARK)
    return None if step is None else str(step)


async def _call(step: StepId, fn: Callable[..., Any], args: tuple[Any, ...], cancellable: bool) -> Any:
    """Call the function so that it knows which step it is, and so do its errors."""
    _step.set(step)
    try:
        return await call(fn, args, cancellable=cancellable)
    except Exception as error:
        error.__dict__[_MARK] = step
        raise


def _digest(step: StepId, args: tuple[Any, ...]) -> str:
    try:
        return values.digest(args)
    except ValueError as error:
        raise StepError(str(step), str(error)) from None


def _type(step: StepId, fn: Callable[..., Any], returns: Any) -> Any:
    """The type to record; an unusable one is refused here, before the function has done anything."""
    if not callable(fn):
        if inspect.iscoroutine(fn):
            fn.close()
        raise StepError(str(step), f"needs a function and its arguments, and was given {type(fn).__name__}")
    kind = return_type(fn, returns)
    try:
        values.adapter(kind)
    except (PydanticUserError, NameError, TypeError) as error:
        raise StepError(str(step), f"its type {values.label(kind)} cannot be recorded: {values.brief(error)}") from None
    return kind


def _write(step: StepId, kind: Any, value: Any) -> str:
    try:
        return values.encode(kind, value)
    except (ValueError, TypeError, AttributeError, RecursionError, PydanticUserError) as error:
        raise StepError(
            str(step), f"its value ({type(value).__name__}) has no JSON form: {values.brief(error)}"
        ) from None


def _read(step: StepId, kind: Any, text: str) -> Any:
    try:
        return values.decode(kind, text)
    except ValidationError as error:
        raise StepError(str(step), f"its value does not fit its type {values.label(kind)}: {_first(error)}") from None


def _first(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, problem['loc'])) or 'value'}: {problem['msg']}"
