"""What is in memory of the queued tasks: a window over each queue, and the queues that stand in one line."""

from __future__ import annotations

import heapq
from collections import deque

from .fair import Turns
from .store import Queue
from .task import Ref, Task

WINDOW = 24_576  # tasks of one queue kept in memory; the rest stays in the store
WINDOWS = 32_768  # tasks of all queues together ...
WINDOW_BYTES = 64 * 2**20  # ... and their inputs; a queue that is served may go a little beyond
REFILL = 2048  # tasks that one look at the store brings

Owner = tuple[str, str]  # (tenant, limit key)
Key = tuple[int, int, str]  # (-priority, rank, id): smallest first
START: Key = (-(10**9), 0, "")
END: Key = (10**9, 0, "")


def key_of(task: Task) -> Key:
    """Its place in its queue."""
    return (-task.priority, task.rank, task.id)


class Room:
    """What windows hold: those of one line, and those of all."""

    __slots__ = ("bytes", "deadlines", "tasks")

    def __init__(self) -> None:
        self.tasks = 0
        self.bytes = 0
        self.deadlines: dict[float, int] = {}  # of one line's tasks, to a second

    def deadline(self, at: float, change: int) -> None:
        """So many more tasks end then."""
        at = float(int(at))
        left = self.deadlines.pop(at, 0) + change
        if left:
            self.deadlines[at] = left

    @property
    def full(self) -> bool:
        return self.tasks >= WINDOWS or self.bytes >= WINDOW_BYTES


class Window:
    """The head of one queue.

    Every queued task that is due and sorts before `edge` is in here; from `edge` on some may be in the store only.
    """

    __slots__ = ("_all", "_heap", "_inside", "_low", "_room", "_row", "edge", "suspects")

    def __init__(self, room: Room, all: Room, edge: Key = START) -> None:
        self._low = REFILL // 4
        self._row: deque[tuple[Key, Task]] = deque()  # what came in its order, as nearly all does ...
        self._heap: list[tuple[Key, Task]] = []  # ... and what did not
        self._inside: dict[Ref, Task] = {}
        self._room = room
        self._all = all
        self.suspects: list[Task] = []  # tasks to run alone
        self.edge = edge  # at the start nothing is known

    def __len__(self) -> int:
        return len(self._inside)

    @property
    def whole(self) -> bool:
        """Whether everything that is due is in here."""
        return self.edge == END

    @property
    def hungry(self) -> bool:
        """Whether it should be filled again soon; at the latest when it is empty, or nobody would look into it."""
        return len(self._inside) < (self._low or 1) and not self.whole

    def add(self, task: Task) -> None:
        """A task that is queued and due."""
        key = key_of(task)
        if task.isolated:
            self.suspects.append(task)
        elif key > self.edge or len(self._inside) >= WINDOW or self._all.full:
            self.edge = min(self.edge, key)
        else:
            self._push(key, task)

    def discard(self, ref: Ref) -> None:
        """Forget a task that is queued no more."""
        task = self._inside.pop(ref, None)
        if task is not None:
            self._count(task, -1)
        elif self.suspects:
            self.suspects = [suspect for suspect in self.suspects if suspect.ref != ref]

    def forget(self) -> None:
        """Know nothing, so that the store is read again."""
        self._row.clear()
        self._heap.clear()
        for task in self._inside.values():
            self._count(task, -1)
        self._inside.clear()
        self.suspects.clear()
        self.edge = START

    def head(self) -> Task | None:
        """The next task, None where there is none or only the store can tell."""
        while self._row or self._heap:
            key, task = self._row[0] if self._row_is_next() else self._heap[0]
            if self._inside.get((task.tenant, task.id)) is task:
                return task if key <= self.edge else None
            self._drop()
        return None

    def pop(self) -> Task:
        """Take the task that `head` showed."""
        task = self._drop()
        del self._inside[task.tenant, task.id]
        self._count(task, -1)
        return task

    def fill(self, tasks: list[Task], edge: Key) -> None:
        """Replace the window by the tasks up to `edge`."""
        self.forget()
        self.edge = edge
        self._low = len(tasks) // 4
        for task in tasks:
            if task.isolated:
                self.suspects.append(task)
            else:
                self._push(key_of(task), task)

    def _row_is_next(self) -> bool:
        return not self._heap or bool(self._row and self._row[0][0] < self._heap[0][0])

    def _drop(self) -> Task:
        """The next one, which goes."""
        return (self._row.popleft() if self._row_is_next() else heapq.heappop(self._heap))[1]

    def _push(self, key: Key, task: Task) -> None:
        if not self._row or self._row[-1][0] < key:
            self._row.append((key, task))
        else:
            heapq.heappush(self._heap, (key, task))
        self._inside[task.tenant, task.id] = task
        self._count(task, 1)

    def _count(self, task: Task, change: int) -> None:
        self._room.tasks += change
        self._all.tasks += change
        self._all.bytes += change * len(task.input)
        if task.deadline is not None:
            self._room.deadline(task.deadline, change)


class Line:
    """The queues of one agent's tasks that are in one lane, and whose turn it is."""

    def __init__(self, agent: str, lane: str) -> None:
        self.agent = agent
        self.lane = lane
        self.serving = 0.0  # how far it is beside the agent's other lines, where one worker serves several
        self.room = Room()
        self.windows: dict[Owner, Window] = {}
        self.unread: set[Owner] = set()  # queues that nobody has looked into, nor is about to
        self.turns: Turns[Owner] = Turns()
        self.suspects: dict[Owner, None] = {}  # owners of tasks to run alone

    @property
    def whole(self) -> bool:
        """Whether all that is due is in memory."""
        return not self.unread and all(window.whole for window in self.windows.values())

    @property
    def due(self) -> int:
        """How many due tasks there are in memory."""
        alone = (self.windows[owner].suspects for owner in self.suspects if owner in self.windows)
        return self.room.tasks + sum(map(len, alone))

    def queue(self, owner: Owner) -> Queue:
        """The owner's queue in this line."""
        return Queue(self.agent, self.lane, *owner)

    def let_go(self, owner: Owner, window: Window) -> None:
        """Keep nothing of a queue that has nothing."""
        if window.whole and not window and not window.suspects:
            self.turns.end(owner)
            del self.windows[owner]
