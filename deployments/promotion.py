"""Runs of a replica that go on as tasks: written to the ledger, claimed by the replica, and given back by it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable

from agents import Agent
from agents.errors import StepError
from agents.events import Emitted
from cluster import verdicts
from cluster.claims import Ending, Entry, Promotion, StepDone, Verdict
from cluster.client import LedgerClient
from cluster.durable import RESULT_BYTES, beyond
from cluster.errors import Unavailable
from cluster.holder import Holder
from cluster.reports import Line
from cluster.task import Submission, Task

from .recording import Movable
from .runs import Run

PATIENCE = 2.0  # seconds in which a promotion must be confirmed


def promoted(reason: str, task_id: str) -> str:
    """What the last event of a live run says that went on as a task."""
    return json.dumps({"reason": reason, "task_id": task_id, "location": f"/v1/tasks/{task_id}"})


class Unconfirmed(Unavailable):
    """Nobody knows whether the run `task_id` is a task."""

    def __init__(self, task_id: str, error: Unavailable) -> None:
        super().__init__(
            f"run {task_id} was to go on as a task, and that was not confirmed: {error}", retry_after=error.retry_after
        )
        self.task_id = task_id


class Promoter:
    """Owns the runs that leave: a caller who goes away ends none of them."""

    def __init__(self, agent: type[Agent[object, object]], ledger: LedgerClient, holder: Holder) -> None:
        self._agent = agent
        self._ledger = ledger
        self._holder = holder
        self._handing: set[asyncio.Task[None]] = set()

    async def submit(self, asked: Submission) -> Task:
        """A task for a request that has no run. Raises Conflict, Overloaded, Unavailable."""
        submitted = await self._ledger.submit(asked)
        task = await self._ledger.task(asked.tenant, submitted.task_ids[0]) if submitted.replayed else None
        return task or asked.tasks[0]

    async def promote(self, run: Run) -> Task | None:
        """The task that the run has become; None if it has given its answer meanwhile, and the ledger will know.

        Raises Unconfirmed, and StepError for what is too large for a task; the run is cancelled then, as it is where
        another process has the task already.
        """
        assert run.becomes is not None, "only such a run leaves"
        assert isinstance(run.recorder, Movable)
        if run.subagents is not None:
            await run.subagents.leave()
        run.recorder.hold()
        try:
            _check(run.recorder.entries)
            last = Emitted("promoted", "", time.time(), promoted(run.wants, run.task_id))
            promotion = Promotion(run.becomes, run.began, (*run.recorder.entries, last))
            task, line = await self._holder.promote(promotion, run.interrupt, PATIENCE)
        except Unavailable as error:
            run.task.cancel()
            raise Unconfirmed(run.task_id, error) from error
        except BaseException:
            run.task.cancel()
            raise
        if line is None:
            run.task.cancel()
            return task
        answered = run.task.done() and not run.task.cancelled() and run.task.exception() is None
        self._hand_over(run, line, task)
        run.recorder.go(line)
        return None if answered else task

    async def close(self, patience: float = 5.0) -> None:
        """Return when what has left is given back, or cannot be for too long; steps that cannot be cancelled have so
        many seconds to end."""
        if self._handing:
            await asyncio.wait(set(self._handing), timeout=patience)
        await self._holder.close()
        for handing in self._handing:
            handing.cancel()

    def _hand_over(self, run: Run, line: Line, task: Task) -> None:
        """Settle the claim: by what the run has come to, or as soon as it has unwound."""
        if run.task.done():
            line.settle(self._verdict(run, task))
            return
        run.task.cancel()
        handing = asyncio.get_running_loop().create_task(self._unwound(run, line, task))
        self._handing.add(handing)
        handing.add_done_callback(self._handing.discard)

    async def _unwound(self, run: Run, line: Line, task: Task) -> None:
        """A step that cannot be cancelled ends first, and is recorded; for as long as an attempt may take."""
        left = task.timeout - (time.time() - run.began)
        await asyncio.wait([run.task], timeout=max(0.0, left))
        line.settle(Verdict(Ending.CANCELED if run.canceled else Ending.RELEASED))

    def _verdict(self, run: Run, task: Task) -> Verdict:
        error = None if run.task.cancelled() else run.task.exception()
        if run.task.cancelled():
            return Verdict(Ending.RELEASED)
        if error is None:
            return Verdict(Ending.COMPLETED, output=run.task.result().decode())
        policy = self._agent.background
        assert policy is not None, "only such an agent's run leaves"
        return verdicts.failed(
            error,
            attempt=task.attempts,
            used=task.used,
            max_attempts=task.max_attempts,
            retry=verdicts.policy(task, policy.retry),
            now=time.time(),
            roll=0.0,
        )


def _check(entries: Iterable[Entry]) -> None:
    for entry in entries:
        if isinstance(entry, StepDone) and (excess := beyond(RESULT_BYTES, entry.record.value)):
            raise StepError(str(entry.record.id), f"keeps its run from going on as a task: its value is {excess}")
