"""Those who submit, cancel, retry, fork, signal and limit, and who were told that it was done."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TypeVar

from cluster.errors import Conflict, Expired, Unavailable
from cluster.lanes import Lane
from cluster.ledger import Ledger
from cluster.limits import Rule, agent_key
from cluster.task import DEFAULT_KEY, Filter, Ref, State, Submission, Submitted, Task, extra_json

from .programs import AGENTS, DEEP, SIGNALS, Program, draw
from .world import EPOCH, World

T = TypeVar("T")
KEYS = (DEFAULT_KEY, DEFAULT_KEY, "acme")


class Clients:
    """Whoever asks something of the ledger in a schedule."""

    def __init__(self, world: World, *, small: bool) -> None:
        """`small`: they have few tasks."""
        self.world = world
        self._sizes = (1,) if small else (1, 1, 1, 3)
        self._depth = DEEP - 1 if small else 0
        self.roll = world.roll
        self.accepted: set[Ref] = set()  # what must have ended at the end
        self.keys: dict[str, tuple[Submission, Submitted]] = {}

    async def submit(self) -> None:
        """One task, or a batch, with a key or without; now and then the same again."""
        roll, world = self.roll, self.world
        tasks = tuple(self._task(draw(roll, self._depth)) for _ in range(roll.choice(self._sizes)))
        key = f"k{world.nonce()}" if roll.random() < 0.4 else ""
        sent = Submission("", "/v1/tasks", tasks, key, f"digest of {key}", world.id() if len(tasks) > 1 else None)
        world.note(f"submit {[(task.id, task.input) for task in tasks]} {key}")
        try:
            answers = [await self._send(sent)]
        except Expired:  # it took so long that the deadline had passed
            there = [task.id for task in tasks if task.ref in world.oracle.tasks]
            assert not there, f"{there} were refused, and are stored"
            return
        while roll.random() < 0.2:
            again = sent
            if key and roll.random() < 0.5:  # as a gateway does it: other ids, the same key
                again = sent._replace(tasks=tuple(task._replace(id=world.id()) for task in tasks))
            answers.append(await self._send(again))
        ids = tuple(task.id for task in tasks)
        for answer in answers:
            assert answer.task_ids == ids, f"{ids} were submitted, {answer.task_ids} accepted"
        self._accept(ids)

    def _task(self, program: Program) -> Task:
        roll, now = self.roll, self.world.clock.now()
        market = "spot" if roll.random() < 0.2 else "any"
        return Task(
            tenant="",
            id=self.world.id(),
            agent=roll.choice(AGENTS),
            version="v1",
            input=json.dumps(program),
            priority=roll.choice((0, 0, 0, 5)),
            tags="[]",
            batch_id=None,
            max_attempts=roll.randint(1, 3),
            timeout=3600.0,
            created_at=now,
            limit_key=roll.choice(KEYS),
            deadline=now + roll.random() * 60 if roll.random() < 0.1 else None,
            run_at=now + roll.random() * 10 if roll.random() < 0.1 else 0.0,
            extra=extra_json(market=market),
            lane=Lane(market).text,
        )

    async def _send(self, submission: Submission) -> Submitted:
        return await self.world.insist(lambda ledger: ledger.submit(submission))

    def _accept(self, ids: tuple[str, ...]) -> None:
        for id in ids:
            there = ("", id) in self.world.oracle.tasks
            assert there, f"{id} was accepted, and is not stored"
            self.accepted.add(("", id))

    # what is asked of a task

    async def meddle(self) -> None:
        """Something happens to some task."""
        refs = list(self.world.oracle.tasks)
        if not refs:
            return
        ref = self.roll.choice(refs)
        match self.roll.choice(("cancel", "cancel", "retry", "retry", "fork", "signal", "signal", "all", "rule")):
            case "cancel":
                await self._cancel(ref)
            case "retry":
                await self._retry(ref)
            case "fork":
                await self._fork(ref)
            case "signal":
                await self.signal(ref, self.roll.choice(SIGNALS))
            case "all":
                await self._all()
            case "rule":
                await self._rule()

    async def _cancel(self, ref: Ref) -> None:
        self.world.note(f"cancel {ref[1]}")
        self.world.oracle.cancels.add(ref)
        task = await self._steer(lambda ledger: ledger.cancel(*ref))
        if task is not None:
            over = task.state == State.CANCELED or task.cancel_requested_at is not None
            assert over, f"{ref[1]} was to be canceled, and is {task.state}"

    async def _retry(self, ref: Ref) -> None:
        self.world.note(f"retry {ref[1]}")
        self.world.oracle.retries.add(ref)
        await self._steer(lambda ledger: ledger.retry(*ref))

    async def _fork(self, ref: Ref) -> None:
        steps = list(self.world.oracle.steps[ref])
        if not steps:
            return
        step, id = self.roll.choice(steps), self.world.id()
        self.world.note(f"fork {ref[1]} from {step} as {id}")
        forked = await self._steer(lambda ledger: ledger.fork(*ref, step, new_id=id, input=None, version="v1"))
        if forked is not None:
            self._accept((id,))

    async def signal(self, ref: Ref, name: str) -> None:
        """Sent once, or twice where the first answer was lost: a signal has no key."""
        payload = f'"{name} {self.world.nonce()}"'
        self.world.note(f"signal {ref[1]} {payload}")
        task = await self._steer(lambda ledger: ledger.signal(*ref, name, payload))
        if task is not None:
            rows = [row for row in self.world.oracle.signals[ref] if row.payload == payload]
            assert bool(rows), f"signal {payload} was accepted, and is not stored"

    async def _all(self) -> None:
        filter = Filter(agent=self.roll.choice(AGENTS))
        if self.roll.random() < 0.3:
            self.world.note("cancel all")
            self.world.oracle.canceling_all += 1
            await self._steer(lambda ledger: ledger.cancel_all("", filter))
            self.world.oracle.canceling_all -= 1
        else:
            self.world.note("retry all")
            self.world.oracle.retrying_all += 1
            await self._steer(lambda ledger: ledger.retry_all("", filter))
            self.world.oracle.retrying_all -= 1

    async def _rule(self) -> None:
        tenant, key = self.roll.choice((("", KEYS[0]), ("", KEYS[-1]), agent_key(AGENTS[0])))
        rule = Rule(
            tenant,
            key,
            concurrency=self.roll.choice((None, 1, 2)),
            rate_count=self.roll.choice((None, None, 3)),
            rate_seconds=2.0,
            weight=self.roll.choice((0.5, 1.0, 3.0)),
            paused_until=EPOCH + self.world.loop.time() + 10 if self.roll.random() < 0.3 else None,
        )
        self.world.note(f"rule {rule}")
        await self._steer(lambda ledger: ledger.set_rule(rule))

    async def _steer(self, ask: Callable[[Ledger], Awaitable[T]]) -> T | None:
        """Ask once or, more often, until it is answered; None where it is refused, or nobody knows."""
        try:
            if self.roll.random() < 0.1:
                return await self.world.ask(ask)
            return await self.world.insist(ask)
        except (Conflict, Unavailable):
            return None

    # the end

    async def feed(self) -> None:
        """Send every waiting task what it waits for."""
        for ref, task in list(self.world.oracle.tasks.items()):
            if task.state == State.WAITING and task.waiting_on is not None:
                for name in json.loads(task.waiting_on).get("signals", ()):
                    await self.signal(ref, name)
        await asyncio.sleep(0)
