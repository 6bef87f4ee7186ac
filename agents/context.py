"""The one contract between an agent and whoever hosts its run."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, overload

from .artifacts import Artifact
from .events import Emit
from .memory import Memory
from .resources import Resources

if TYPE_CHECKING:
    from .agent import Agent

T = TypeVar("T")
In = TypeVar("In")
Out = TypeVar("Out")


class Mode(StrEnum):
    """The tempo of a run."""

    REALTIME = "realtime"
    BACKGROUND = "background"


class Context(Protocol):
    """What an agent may ask of its host; the same in both modes."""

    @property
    def mode(self) -> Mode: ...

    @property
    def task_id(self) -> str: ...

    @property
    def attempt(self) -> int:
        """Counts from 1; what a lost node or an ended ledger repeats is the same attempt."""

    @property
    def tenant(self) -> str: ...

    @property
    def session(self) -> str | None:
        """The session that this run is a turn of, None where it belongs to none."""

    @property
    def memory(self) -> Memory:
        """What the session remembers from turn to turn: one state of the agent's own making. Without a session it is
        empty at first, and ends with the run."""

    @property
    def deadline(self) -> datetime:
        """The moment the caller stops waiting (real time) or this attempt times out (background)."""

    def remaining(self) -> float:
        """Seconds until `deadline`, never below 0."""

    @overload
    async def step(
        self,
        name: str,
        fn: Callable[..., Coroutine[Any, Any, T]],
        *args: Any,
        key: str | None = None,
        returns: Any = None,
        cancellable: bool = True,
        once: bool = False,
        resources: Resources | None = None,
    ) -> T: ...

    @overload
    async def step(
        self,
        name: str,
        fn: Callable[..., T],
        *args: Any,
        key: str | None = None,
        returns: Any = None,
        cancellable: bool = True,
        once: bool = False,
        resources: Resources | None = None,
    ) -> T: ...

    @property
    def step_key(self) -> str:
        """An idempotency key of the step in progress, the same whenever and wherever that step runs."""

    async def emit(self, event: Emit) -> None:
        """Tell the listeners; in the background the event is recorded too, once, in the order it was sent."""

    async def artifact(
        self, data: bytes | Path, *, name: str = "", media_type: str = "application/octet-stream"
    ) -> Artifact:
        """Keep bytes outside of the journal; the returned reference is small, and `read()` gives them back."""

    async def promote(self, reason: str) -> None:
        """From here on the run needs the background, for this reason: a live run moves there, and goes on at this line.
        Raises NeedsBackground where its caller takes nothing but an answer."""

    async def sleep(self, seconds: float, *, key: str | None = None) -> None:
        """Wait so many seconds, from when the run first came here, without a worker."""

    async def signal(
        self,
        name: str,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - the moment that it means is recorded
        returns: Any = None,
        key: str | None = None,
    ) -> Any:
        """Wait, without a worker, for the next signal of that name that this task is sent or was sent before; its
        payload, as `returns` if that is given. Raises TimeoutError where none came within `timeout` seconds."""

    @overload
    async def call(self, agent: type[Agent[In, Out]], input: In, *, key: str | None = None) -> Out: ...

    @overload
    async def call(self, agent: str, input: Any, *, key: str | None = None, returns: Any = None) -> Any: ...

    @overload
    async def map(
        self,
        agent: type[Agent[In, Out]],
        inputs: Iterable[In],
        *,
        parallel: int | None = None,
        key: str | None = None,
    ) -> list[Out]: ...

    @overload
    async def map(
        self,
        agent: str,
        inputs: Iterable[Any],
        *,
        parallel: int | None = None,
        key: str | None = None,
        returns: Any = None,
    ) -> list[Any]: ...
