"""What must be true of a whole history: of all that a ledger has, that steps left behind and that clients were told."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from cluster.remote import RemoteLedger
from cluster.task import TERMINAL_EVENTS, Event, Filter, State, Step, Task

from .laborers import starts

PAGE = 500
WAITS = "juggler"  # whose tasks are claimed anew after each wait
Start = tuple[str, str, str]  # (task, step, mark), as the trace has it


@dataclass
class Told:
    """What the clients know: each task that was accepted, by the name in its input, and how they saw it end."""

    names: dict[str, str] = field(default_factory=dict)  # id of an accepted task to the name it was submitted under
    canceled: set[str] = field(default_factory=set)  # ids whose cancel was asked for, answered or not
    ends: dict[str, tuple[str, Any]] = field(default_factory=dict)  # id to the state and output first seen
    refusals: Counter[int] = field(default_factory=Counter)  # answers that made a client ask again, by status
    replays: int = 0  # how often they asked again to change something
    breaches: list[str] = field(default_factory=list)  # promises that a client saw broken itself


class Life(NamedTuple):
    """One task as the ledger has it at the end."""

    task: Task
    steps: tuple[Step, ...]
    events: tuple[Event, ...]

    @property
    def name(self) -> str:
        """What its client called it."""
        name: str = json.loads(self.task.input)["name"]
        return name


@dataclass
class History:
    """All of it, once nothing moves any more."""

    told: Told
    lives: dict[str, Life]
    starts: list[Start]
    holders: list[str]  # workers that still hold claims

    def __post_init__(self) -> None:
        self._starts: defaultdict[str, list[Start]] = defaultdict(list)  # by task
        for start in self.starts:
            self._starts[start[0]].append(start)
        self._children: defaultdict[str, list[Life]] = defaultdict(list)  # by parent
        for life in self.lives.values():
            if life.task.parent_id is not None:
                self._children[life.task.parent_id].append(life)

    def breaches(self) -> list[str]:
        """Every promise that was broken, in a sentence that names the task; empty where all were kept."""
        found = [*self.told.breaches, *(f"worker {worker} still holds claims" for worker in self.holders)]
        found += self._of_acceptance()
        for life in self.lives.values():
            found += self._of_life(life)
            found += self._of_family(life)
        found += self._of_steps()
        return found

    def _of_acceptance(self) -> Iterator[str]:
        for id in self.told.names.keys() - self.lives.keys():
            yield f"{id} was accepted and is lost"
        roots = [life for life in self.lives.values() if life.task.parent_id is None]
        for life in roots:
            if life.task.id not in self.told.names:
                yield f"{life.task.id} ({life.name}) is known to no client"
            elif self.told.names[life.task.id] != life.name:
                yield f"{life.task.id} was accepted as {self.told.names[life.task.id]}, and is {life.name}"
        for name, number in Counter(life.name for life in self.lives.values()).items():
            if number > 1:
                yield f"{name} was made {number} times"

    def _of_life(self, life: Life) -> Iterator[str]:
        task, types = life.task, [event.type for event in life.events]
        if not task.ended:
            yield f"{task.id} has not ended: it is {task.state}"
        elif (end := TERMINAL_EVENTS[State(task.state)]) != types[-1]:
            yield f"{task.id} {task.state}, but its last event is {types[-1]} and not {end}"
        ends = sum(type in TERMINAL_EVENTS.values() for type in types)
        if ends > 1:
            yield f"{task.id} ended {ends} times"
        if [event.seq for event in life.events] != list(range(len(life.events))):
            yield f"the events of {task.id} are numbered {[event.seq for event in life.events]}"
        now = task.state, json.loads(task.output) if task.output else None
        if self.told.ends.get(task.id, now) != now:
            yield f"{task.id} was seen to end as {self.told.ends[task.id]}, and has ended as {now} since"
        yield from self._of_end(life)

    def _of_end(self, life: Life) -> Iterator[str]:
        task = life.task
        if task.state == State.CANCELED and not {task.id, task.parent_id} & self.told.canceled:
            yield f"{task.id} was canceled, and nobody asked for it"
        elif task.state == State.COMPLETED and self._output(life) != self._marks(life):
            yield f"the output of {task.id} has {self._output(life)}, its journal {self._marks(life)}"
        elif task.state == State.FAILED and not self._may_fail(life):
            yield f"{task.id} failed: {task.error}"

    def _may_fail(self, life: Life) -> bool:
        """Only where a step that may run once has started, and what came of it is not on record."""
        error = json.loads(life.task.error or "{}")
        started = [step for _, step, _ in self._starts[life.task.id]]
        recorded = [step.name + step.key for step in life.steps]
        lost = error.get("step")
        return error.get("type") == "step_outcome_unknown" and started.count(lost) <= 1 and lost not in recorded

    def _of_family(self, life: Life) -> Iterator[str]:
        if life.task.parent_id is not None and life.task.parent_id not in self.lives:
            yield f"{life.task.id} is a child of {life.task.parent_id}, which is not there"
        children = [each.task for each in self._children[life.task.id]]
        if len(children) != life.task.children:
            yield f"{life.task.id} has called {life.task.children}, and has {len(children)} children"
        if life.task.state == State.COMPLETED and any(child.state != State.COMPLETED for child in children):
            yield f"{life.task.id} completed with children that are {sorted(child.state for child in children)}"

    def _of_steps(self) -> Iterator[str]:
        """What is on record, or known to be by what came after it, does not start again."""
        for id, begun in list(self._starts.items()):
            order = [step for _, step, _ in begun]
            yield from _out_of_turn(id, order)
            if id not in self.lives:
                yield f"a step of {id} ran, and there is no such task"
                continue
            marks = {step: mark for _, step, mark in begun}  # of the last start of each
            for step in self.lives[id].steps:
                name, value = step.name + step.key, json.loads(step.value)
                if name in marks and marks[name] != value:
                    yield f"{name} of {id} is recorded as {value}, and started again as {marks[name]}"
            if order.count("charge#0") > 1:
                yield f"charge#0 of {id} may run once, and started {order.count('charge#0')} times"

    def _marks(self, life: Life) -> list[str]:
        """The marks on record, its children's among them, in a fixed order."""
        own = {mark for _, _, mark in self._starts[life.task.id]}
        recorded = [value for value in (json.loads(step.value) for step in life.steps) if isinstance(value, str)]
        found = [mark for mark in recorded if mark in own]
        for child in self._children[life.task.id]:
            found += self._marks(child)
        return sorted(found)

    def _output(self, life: Life) -> list[str]:
        return sorted(json.loads(life.task.output or "{}").get("marks", []))

    # what is told of it

    def report(self) -> list[str]:
        """What happened, in a few lines."""
        tasks = [life.task for life in self.lives.values()]
        again = Counter((task, step) for task, step, _ in self.starts)
        ends = Counter(task.state for task in tasks)
        return [
            f"tasks {len(self.told.names)} accepted, {len(tasks) - len(self.told.names)} children; {_counted(ends)}",
            f"re-runs {sum(task.attempts > 1 for task in tasks)} tasks in a later attempt,"
            f" {sum(task.fence > 1 for task in tasks if task.agent != WAITS)} that never wait under a later claim;"
            f" of {len(again)} steps {sum(number > 1 for number in again.values())} ran again, unrecorded",
            f"clients were answered {_counted(self.told.refusals)}, and asked for {self.told.replays} changes again",
        ]


def _out_of_turn(id: str, order: list[str]) -> Iterator[str]:
    """A step whose next one has started was recorded before; all of a task's steps here are one after the other."""
    first = {step: place for place, step in reversed(list(enumerate(order)))}
    last = {step: place for place, step in enumerate(order)}
    turns = sorted(first, key=lambda step: first[step])
    for step, following in pairwise(turns):
        if last[step] > first[following]:
            yield f"{step} of {id} started again after {following}, before which it was recorded"


def _counted(found: Counter) -> str:
    return (
        ", ".join(
            f"{number} times {name}" if isinstance(name, int) else f"{number} {name}"
            for name, number in sorted(found.items())
        )
        or "none"
    )


async def read(ledger: RemoteLedger, told: Told, trace: Path) -> History:
    """The history that a ledger can tell now."""
    tasks: list[Task] = []
    while page := await ledger.tasks("", Filter(), tasks[-1].id if tasks else None, PAGE):
        tasks += page
    lives = {task.id: await _life(ledger, task) for task in tasks}
    return History(told, lives, starts(trace), list(await ledger.holders()))


async def _life(ledger: RemoteLedger, task: Task) -> Life:
    steps, page = await ledger.steps("", task.id), await ledger.events("", task.id, -1, 0)
    return Life(task, tuple(steps or ()), page.events if page else ())
