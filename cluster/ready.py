"""Which task is next: a bounded window, in memory, over the queued tasks of each agent."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable

from .store import Ref, Writes
from .task import State, Task

WINDOW = 4096  # tasks of one agent kept in memory; the rest stays in the store
WINDOW_BYTES = 32 * 2**20  # of their inputs

Key = tuple[int, str]  # (-priority, id): smallest first
_END: Key = (10**9, "")

Read = Callable[[str, float, int], list[Task]]


def _key(task: Task) -> Key:
    return (-task.priority, task.id)


class Window:
    """The head of one agent's queue.

    Every queued task that is due and sorts before `edge` is in here; from `edge` on some may be in the store only.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[Key, Task]] = []
        self._inside: dict[Ref, Task] = {}
        self._bytes = 0
        self.suspects: deque[Task] = deque()  # tasks to run alone
        self.edge: Key = (-(10**9), "")  # a new window knows nothing: its first pop reads the store

    def __len__(self) -> int:
        return len(self._inside)

    def add(self, task: Task) -> None:
        """A task that is queued and due."""
        if task.isolated:
            self.suspects.append(task)
        elif len(self._inside) >= WINDOW or self._bytes >= WINDOW_BYTES or _key(task) > self.edge:
            self.edge = min(self.edge, _key(task))
        else:
            self._push(task)

    def _push(self, task: Task) -> None:
        heapq.heappush(self._heap, (_key(task), task))
        self._inside[task.tenant, task.id] = task
        self._bytes += len(task.input)

    def discard(self, ref: Ref) -> None:
        """Forget a task that is queued no more."""
        task = self._inside.pop(ref, None)
        if task is not None:
            self._bytes -= len(task.input)
        self.suspects = deque(suspect for suspect in self.suspects if (suspect.tenant, suspect.id) != ref)

    def forget(self) -> None:
        """Know nothing, so that the next pop reads the store."""
        self._heap.clear()
        self._inside.clear()
        self._bytes = 0
        self.suspects.clear()
        self.edge = (-(10**9), "")

    def head(self) -> Task | None:
        """The next task of the window, None where only the store can tell."""
        while self._heap:
            key, task = self._heap[0]
            if self._inside.get((task.tenant, task.id)) is not task:
                heapq.heappop(self._heap)
            elif key <= self.edge:
                return task
            else:
                return None
        return None

    def pop(self) -> Task:
        """Take the task that `head` showed."""
        _, task = heapq.heappop(self._heap)
        del self._inside[task.tenant, task.id]
        self._bytes -= len(task.input)
        return task

    def fill(self, tasks: list[Task], edge: Key) -> None:
        """Replace the window by the tasks up to `edge`."""
        self.forget()
        self.edge = edge
        for task in tasks:
            if task.isolated:
                self.suspects.append(task)
            else:
                self._push(task)


class Ready:
    """The windows of all agents, refilled from the store when they run low."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._windows: dict[str, Window] = {}
        self._alarms: list[tuple[float, str]] = []  # moments at which an agent has a task that becomes due
        self._known: set[tuple[float, str]] = set()

    def window(self, agent: str) -> Window:
        """The agent's window; one it never had knows nothing yet."""
        found = self._windows.get(agent)
        if found is None:
            found = self._windows[agent] = Window()
        return found

    def add(self, task: Task, now: float) -> None:
        """A task that became queued: in the window if it is due, else an alarm for when it will be."""
        if task.run_at <= now:
            self.window(task.agent).add(task)
        else:
            self.wake(task.agent, task.run_at)

    def wake(self, agent: str, at: float) -> None:
        """Look again at `at`, rounded up so that a thousand delayed tasks cost few alarms."""
        alarm = (math.ceil(at * 20) / 20, agent)
        if alarm not in self._known:
            self._known.add(alarm)
            heapq.heappush(self._alarms, alarm)

    def discard(self, agent: str, ref: Ref) -> None:
        self.window(agent).discard(ref)

    def ring(self, now: float) -> None:
        """Let windows whose alarm has come read the store again."""
        while self._alarms and self._alarms[0][0] <= now:
            alarm = heapq.heappop(self._alarms)
            self._known.discard(alarm)
            self.window(alarm[1]).forget()

    def next_alarm(self) -> float | None:
        return self._alarms[0][0] if self._alarms else None

    def suspects(self, agent: str, now: float, writes: Writes) -> deque[Task]:
        """The agent's tasks that must run alone."""
        self.head(agent, now, writes)
        return self.window(agent).suspects

    def head(self, agent: str, now: float, writes: Writes) -> Task | None:
        """The agent's next task, None if it has none that is due."""
        window = self.window(agent)
        found = window.head()
        if found is None and window.edge != _END:
            self._refill(agent, window, now, writes)
            found = window.head()
        return found

    def _refill(self, agent: str, window: Window, now: float, writes: Writes) -> None:
        """Read the store's committed view, and lay over it what this tick has moved but not yet committed."""
        limit = WINDOW // 2
        rows = self._read(agent, now, limit)
        tasks = [task for task in rows if writes.find((task.tenant, task.id)) is None]
        edge = _key(rows[-1]) if len(rows) == limit else _END
        tasks += [
            task
            for task in writes.pending()
            if task.agent == agent and task.state == State.QUEUED and task.run_at <= now and _key(task) <= edge
        ]
        window.fill(tasks, edge)
