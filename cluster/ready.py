"""Which task is next: a bounded window, in memory, over each queue, and whose turn it is among those of an agent."""

from __future__ import annotations

import heapq
from collections.abc import Awaitable, Callable

from .alarms import Alarms
from .fair import Turns
from .pages import is_cut, weight
from .store import Queue, Writes
from .task import Ref, State, Task

WINDOW = 24_576  # tasks of one queue kept in memory; the rest stays in the store
WINDOWS = 32_768  # tasks of all queues together ...
WINDOW_BYTES = 64 * 2**20  # ... and their inputs; a queue that is served may go a little beyond
REFILL = 2048  # tasks that one look at the store brings ...
REFILL_FULL = 16  # ... and while there is no room, or fewer where there are many queues
FILL = 4096  # tasks that one tick reads, or a little more; each look counts as 16
LOOKS = FILL // 16  # queues that are looked into before they are asked for; the others, when their turn comes

Owner = tuple[str, str]  # (tenant, limit key)
Key = tuple[int, int, str]  # (-priority, rank, id): smallest first
_START: Key = (-(10**9), 0, "")
_END: Key = (10**9, 0, "")

Read = Callable[[Queue, float, int], Awaitable[list[Task]]]
Due = Callable[[Queue, float], Awaitable[float | None]]


def _key(task: Task) -> Key:
    return (-task.priority, task.rank, task.id)


class Room:
    """What windows hold: those of one agent, and those of all."""

    __slots__ = ("bytes", "tasks")

    def __init__(self) -> None:
        self.tasks = 0
        self.bytes = 0

    @property
    def full(self) -> bool:
        return self.tasks >= WINDOWS or self.bytes >= WINDOW_BYTES


class Window:
    """The head of one queue.

    Every queued task that is due and sorts before `edge` is in here; from `edge` on some may be in the store only.
    """

    __slots__ = ("_all", "_heap", "_inside", "_low", "_room", "edge", "suspects")

    def __init__(self, room: Room, all: Room, edge: Key = _START) -> None:
        self._low = REFILL // 4
        self._heap: list[tuple[Key, Task]] = []
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
        return self.edge == _END

    @property
    def hungry(self) -> bool:
        """Whether it should be filled again soon; at the latest when it is empty, or nobody would look into it."""
        return len(self._inside) < (self._low or 1) and not self.whole

    def add(self, task: Task) -> None:
        """A task that is queued and due."""
        key = _key(task)
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
        self._heap.clear()
        for task in self._inside.values():
            self._count(task, -1)
        self._inside.clear()
        self.suspects.clear()
        self.edge = _START

    def head(self) -> Task | None:
        """The next task, None where there is none or only the store can tell."""
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
                self._push(_key(task), task)

    def _push(self, key: Key, task: Task) -> None:
        heapq.heappush(self._heap, (key, task))
        self._inside[task.tenant, task.id] = task
        self._count(task, 1)

    def _count(self, task: Task, change: int) -> None:
        self._room.tasks += change
        self._all.tasks += change
        self._all.bytes += change * len(task.input)


class Line:
    """The queues of one agent, and whose turn it is."""

    def __init__(self) -> None:
        self.room = Room()
        self.windows: dict[Owner, Window] = {}
        self.unread: set[Owner] = set()  # queues that nobody has looked into, nor is about to
        self.turns: Turns[Owner] = Turns()
        self.suspects: dict[Owner, None] = {}  # owners of tasks to run alone

    def let_go(self, owner: Owner, window: Window) -> None:
        """Keep nothing of a queue that has nothing."""
        if window.whole and not window and not window.suspects:
            self.turns.end(owner)
            del self.windows[owner]


class Ready:
    """The windows of all queues, filled from the store when they run low."""

    def __init__(self, read: Read, due: Due) -> None:
        self._read = read
        self._due = due
        self._room = Room()
        self._lines: dict[str, Line] = {}
        self._hungry: dict[Queue, None] = {}
        self._alarms: Alarms[Queue] = Alarms()  # moments at which a queue has a task that becomes due

    def line(self, agent: str) -> Line:
        found = self._lines.get(agent)
        if found is None:
            found = self._lines[agent] = Line()
        return found

    def know(self, queue: Queue) -> None:
        """A queue with tasks in the store of which nothing else is known."""
        line = self.line(queue.agent)
        if queue.owner not in line.windows:
            line.windows[queue.owner] = Window(line.room, self._room)
            line.unread.add(queue.owner)
        line.turns.join(queue.owner)
        if len(self._hungry) < LOOKS or queue.owner not in line.unread:
            self._look_into(queue)

    def add(self, task: Task, now: float) -> None:
        """A task that became queued: in the window if it is due, else an alarm for when it will be."""
        queue = Queue(task.agent, task.tenant, task.limit_key)
        if task.run_at > now:
            self.wake(queue, task.run_at)
            return
        line = self.line(task.agent)
        window = line.windows.get(queue.owner)
        if window is None:  # the store has no other task of this queue: each that it has is known of
            window = line.windows[queue.owner] = Window(line.room, self._room, _END)
        window.add(task)
        self._look_after(queue, window)
        line.turns.join(queue.owner)
        if task.isolated:
            line.suspects[queue.owner] = None

    def discard(self, task: Task) -> None:
        """Forget a task that is queued no more."""
        queue = Queue(task.agent, task.tenant, task.limit_key)
        line = self.line(task.agent)
        window = line.windows.get(queue.owner)
        if window is not None:
            window.discard(task.ref)
            self._look_after(queue, window)
            line.let_go(queue.owner, window)

    def wake(self, queue: Queue, at: float) -> None:
        """Look at the queue again at `at`, when a task of it becomes due."""
        self._alarms.set(queue, at)

    def next_alarm(self) -> float | None:
        return self._alarms.next()

    @property
    def hungry(self) -> bool:
        """Whether `fill` has something to do."""
        return bool(self._hungry)

    async def fill(self, now: float, writes: Writes) -> None:
        """Read what is due by now or runs low: the store's committed view, and over it what this tick has moved."""
        await self._ring(now, writes)
        room, empty = FILL, []
        while self._hungry and room > 0:
            queue = next(iter(self._hungry))
            del self._hungry[queue]
            room -= 16 + await self._fill(queue, now, writes)
            window = self._lines[queue.agent].windows.get(queue.owner)
            if window is not None and not window and window.hungry:
                empty.append(queue)  # all that was read has moved in this tick: the next one reads on
        for queue in empty:
            self._hungry[queue] = None

    def next(self, agent: str) -> tuple[Owner, Task] | None:
        """Whose turn it is among the agent's queues, and its next task; `take` or `pass_over` must follow. None where
        there is none, or one has to look into queues first."""
        line = self.line(agent)
        while (owner := line.turns.next()) is not None:
            window = line.windows[owner]
            task = window.head()
            if task is not None:
                return owner, task
            line.turns.leave(owner)
            if not window.whole:
                self._look_into(Queue(agent, *owner))
                if len(self._hungry) >= LOOKS:
                    break  # else a tick would look into all queues that there are
        return None

    def take(self, agent: str, owner: Owner, weight: float) -> Task:
        """Take the task that `next` showed."""
        line = self._lines[agent]
        window = line.windows[owner]
        task = window.pop()
        line.turns.serve(owner, weight)
        if window.hungry:
            self._look_into(Queue(agent, *owner))
        line.let_go(owner, window)
        return task

    def pass_over(self, agent: str, owner: Owner) -> None:
        """The owner may not be served now; `resume` lets it in again."""
        self._lines[agent].turns.leave(owner)

    def resume(self, agent: str, owner: Owner) -> None:
        """An owner that was passed over may be served again."""
        line = self.line(agent)
        if owner in line.windows:
            line.turns.join(owner)

    def suspects(self, agent: str) -> list[Owner]:
        """Who has tasks of the agent that must run alone; `take_suspect` may follow."""
        line = self.line(agent)
        if line.suspects:
            there = {owner: line.windows.get(owner) for owner in line.suspects}
            line.suspects = {owner: None for owner, window in there.items() if window is not None and window.suspects}
        return list(line.suspects)

    def suspect(self, agent: str, owner: Owner) -> Task:
        """The next of these."""
        return self._lines[agent].windows[owner].suspects[0]

    def take_suspect(self, agent: str, owner: Owner) -> Task:
        """Take the owner's next task to run alone; another owner's comes after it."""
        line = self._lines[agent]
        line.suspects[owner] = line.suspects.pop(owner)
        window = line.windows[owner]
        task = window.suspects.pop(0)
        line.let_go(owner, window)
        return task

    def any(self, agent: str) -> bool:
        """Whether a task of the agent is in memory, or may be once it is asked for."""
        found = self._lines.get(agent)
        return found is not None and (found.room.tasks > 0 or bool(found.suspects) or bool(found.unread))

    def size(self, agent: str) -> int:
        """How many tasks of the agent are ready to be handed out, at least: in memory, and one of each unread queue."""
        found = self._lines.get(agent)
        return 0 if found is None else found.room.tasks + len(found.unread)

    def _look_after(self, queue: Queue, window: Window) -> None:
        if window.hungry:
            self._look_into(queue)

    def _look_into(self, queue: Queue) -> None:
        """Have the next tick do so."""
        self._hungry[queue] = None
        self._lines[queue.agent].unread.discard(queue.owner)

    async def _ring(self, now: float, writes: Writes) -> None:
        """Let queues whose alarm has come be read again, and set the next, by the store and by what this tick moves."""
        due = list(self._alarms.due(now))
        for queue in due:
            self.know(queue)
            later = await self._due(queue, now)
            if later is not None:
                self.wake(queue, later)
        if due:
            for task in writes.pending():
                if task.state == State.QUEUED and task.run_at > now:
                    self.wake(Queue(task.agent, task.tenant, task.limit_key), task.run_at)

    def _refill(self) -> int:
        if not self._room.full:
            return REFILL
        queues = sum(len(line.windows) for line in self._lines.values())
        return max(1, min(REFILL_FULL, WINDOWS // queues))

    async def _fill(self, queue: Queue, now: float, writes: Writes) -> int:
        """Says how many tasks it read."""
        limit = self._refill()
        rows = await self._read(queue, now, limit)
        while len(rows) == limit and all(task.isolated for task in rows):  # what runs alone must not hide the rest
            limit *= 2
            rows = await self._read(queue, now, limit)
        tasks = [task for task in rows if writes.find((task.tenant, task.id)) is None]
        edge = _key(rows[-1]) if len(rows) == limit or is_cut(rows, weight) else _END
        tasks += [
            task
            for task in writes.pending()
            if (task.agent, task.tenant, task.limit_key) == queue
            and task.state == State.QUEUED
            and task.run_at <= now
            and _key(task) <= edge
        ]
        line = self.line(queue.agent)
        window = line.windows.setdefault(queue.owner, Window(line.room, self._room))
        window.fill(tasks, edge)
        if tasks:
            line.turns.join(queue.owner)
        if window.suspects:
            line.suspects[queue.owner] = None
        line.let_go(queue.owner, window)
        return len(rows)
