"""Which task is next: a bounded window, in memory, over each queue, and whose turn it is among those of a line."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from . import windows
from .alarms import Alarms
from .lanes import line
from .pages import is_cut, weight
from .store import Queue, Writes
from .task import State, Task
from .windows import END, Line, Owner, Room, Window, key_of

REFILL_FULL = 16  # tasks that one look at the store brings while there is no room, or fewer where there are many queues
FILL = 4096  # tasks that one tick reads, or a little more; each look counts as 16
LOOKS = FILL // 16  # queues that are looked into before they are asked for; the others, when their turn comes

Read = Callable[[Queue, float, int], Awaitable[list[Task]]]
Due = Callable[[Queue, float], Awaitable[float | None]]


class Ready:
    """The windows of all queues, filled from the store when they run low."""

    def __init__(self, read: Read, due: Due) -> None:
        self._read = read
        self._due = due
        self._room = Room()
        self._lines: dict[str, Line] = {}  # by the name of the line, as `cluster.lanes.line` has it
        self._serving: dict[str, float] = {}  # by agent, how far the line of the last turn is
        self._hungry: dict[Queue, None] = {}
        self._alarms: Alarms[Queue] = Alarms()  # moments at which a queue has a task that becomes due

    def line_of(self, agent: str, lane: str) -> Line:
        """The agent's line in that lane, to look at."""
        return self._lines.get(line(agent, lane)) or Line(agent, lane)

    def line(self, name: str) -> Line:
        found = self._lines.get(name)
        if found is None:
            agent, _, lane = name.partition("@")
            found = self._lines[name] = Line(agent, lane)
        return found

    def know(self, queue: Queue) -> None:
        """A queue with tasks in the store of which nothing else is known."""
        line = self.line(queue.line)
        if queue.owner not in line.windows:
            line.windows[queue.owner] = Window(line.room, self._room)
            line.unread.add(queue.owner)
        line.turns.join(queue.owner)
        if len(self._hungry) < LOOKS or queue.owner not in line.unread:
            self._look_into(queue)

    def add(self, task: Task, now: float) -> None:
        """A task that became queued: in the window if it is due, else an alarm for when it will be."""
        queue = Queue(task.agent, task.lane, task.tenant, task.limit_key)
        if task.run_at > now:
            self.wake(queue, task.run_at)
            return
        line = self.line(task.line)
        window = line.windows.get(queue.owner)
        if window is None:  # the store has no other task of this queue: each that it has is known of
            window = line.windows[queue.owner] = Window(line.room, self._room, END)
        window.add(task)
        self._look_after(queue, window)
        line.turns.join(queue.owner)
        if task.isolated:
            line.suspects[queue.owner] = None

    def discard(self, task: Task) -> None:
        """Forget a task that is queued no more."""
        queue = Queue(task.agent, task.lane, task.tenant, task.limit_key)
        line = self.line(task.line)
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

    def wants(self, now: float) -> bool:
        """Whether `fill` would read something now."""
        alarm = self._alarms.next()
        return bool(self._hungry) or (alarm is not None and alarm <= now)

    async def fill(self, now: float, writes: Writes) -> None:
        """Read what is due by now or runs low: the store's committed view, and over it what this tick has moved."""
        await self._ring(now, writes)
        room, empty = FILL, []
        while self._hungry and room > 0:
            queue = next(iter(self._hungry))
            del self._hungry[queue]
            room -= 16 + await self._fill(queue, now, writes)
            window = self._lines[queue.line].windows.get(queue.owner)
            if window is not None and not window and window.hungry:
                empty.append(queue)  # all that was read has moved in this tick: the next one reads on
        for queue in empty:
            self._hungry[queue] = None

    def order(self, lines: Sequence[str]) -> Sequence[str]:
        """The lines of one agent in the order of their turns: of those that have something, each gets turns by how
        many queues it has. One that had nothing, or that others serve, gets no more than one round of credit."""
        agent = self.line(lines[0]).agent
        least = self._serving.get(agent, 0.0) - 1.0
        for each in map(self.line, lines):
            each.serving = max(each.serving, least)
        return sorted(lines, key=lambda name: self._lines[name].serving)

    def served(self, name: str) -> None:
        """A line of several had a turn."""
        line = self._lines[name]
        self._serving[line.agent] = max(line.serving, self._serving.get(line.agent, 0.0))
        line.serving += 1.0 / max(1, len(line.turns))

    def next(self, name: str) -> tuple[Owner, Task] | None:
        """Whose turn it is among the line's queues, and its next task; `take` or `pass_over` must follow. None where
        there is none, or one has to look into queues first."""
        line = self.line(name)
        while (owner := line.turns.next()) is not None:
            window = line.windows[owner]
            task = window.head()
            if task is not None:
                return owner, task
            line.turns.leave(owner)
            if not window.whole:
                self._look_into(line.queue(owner))
                if len(self._hungry) >= LOOKS:
                    break  # else a tick would look into all queues that there are
        return None

    def take(self, name: str, owner: Owner, weight: float) -> Task:
        """Take the task that `next` showed."""
        line = self._lines[name]
        window = line.windows[owner]
        task = window.pop()
        line.turns.serve(owner, weight)
        if window.hungry:
            self._look_into(line.queue(owner))
        line.let_go(owner, window)
        return task

    def pass_over(self, name: str, owner: Owner) -> None:
        """The owner may not be served now; `resume` lets it in again."""
        self._lines[name].turns.leave(owner)

    def resume(self, name: str, owner: Owner) -> None:
        """An owner that was passed over may be served again."""
        line = self.line(name)
        if owner in line.windows:
            line.turns.join(owner)

    def suspects(self, name: str) -> list[Owner]:
        """Who has tasks of the line that must run alone; `take_suspect` may follow."""
        line = self.line(name)
        if line.suspects:
            there = {owner: line.windows.get(owner) for owner in line.suspects}
            line.suspects = {owner: None for owner, window in there.items() if window is not None and window.suspects}
        return list(line.suspects)

    def suspect(self, name: str, owner: Owner) -> Task:
        """The next of these."""
        return self._lines[name].windows[owner].suspects[0]

    def take_suspect(self, name: str, owner: Owner) -> Task:
        """Take the owner's next task to run alone; another owner's comes after it."""
        line = self._lines[name]
        line.suspects[owner] = line.suspects.pop(owner)
        window = line.windows[owner]
        task = window.suspects.pop(0)
        line.let_go(owner, window)
        return task

    def __bool__(self) -> bool:
        """Whether there is a line of which `any` holds."""
        return self._room.tasks > 0 or any(line.suspects or line.unread for line in self._lines.values())

    @property
    def has_suspects(self) -> bool:
        """Whether there is a line of which `suspects` may tell some."""
        return any(line.suspects for line in self._lines.values())

    def any(self, name: str) -> bool:
        """Whether a task of the line is in memory, or may be once it is asked for."""
        found = self._lines.get(name)
        return found is not None and (found.room.tasks > 0 or bool(found.suspects) or bool(found.unread))

    def size(self, name: str) -> int:
        """How many tasks of the line are ready to be handed out, at least: in memory, and one of each unread queue."""
        found = self._lines.get(name)
        return 0 if found is None else found.room.tasks + len(found.unread)

    def _look_after(self, queue: Queue, window: Window) -> None:
        if window.hungry:
            self._look_into(queue)

    def _look_into(self, queue: Queue) -> None:
        """Have the next tick do so."""
        self._hungry[queue] = None
        self._lines[queue.line].unread.discard(queue.owner)

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
                    self.wake(Queue(task.agent, task.lane, task.tenant, task.limit_key), task.run_at)

    def _refill(self) -> int:
        if not self._room.full:
            return windows.REFILL
        queues = sum(len(line.windows) for line in self._lines.values())
        return max(1, min(REFILL_FULL, windows.WINDOWS // queues))

    async def _fill(self, queue: Queue, now: float, writes: Writes) -> int:
        """Says how many tasks it read."""
        limit = self._refill()
        rows = await self._read(queue, now, limit)
        while len(rows) == limit and all(task.isolated for task in rows):  # what runs alone must not hide the rest
            limit *= 2
            rows = await self._read(queue, now, limit)
        tasks = [task for task in rows if writes.find((task.tenant, task.id)) is None]
        edge = key_of(rows[-1]) if len(rows) == limit or is_cut(rows, weight) else END
        tasks += [
            task
            for task in writes.pending()
            if (task.agent, task.lane, task.tenant, task.limit_key) == queue
            and task.state == State.QUEUED
            and task.run_at <= now
            and key_of(task) <= edge
        ]
        line = self.line(queue.line)
        window = line.windows.setdefault(queue.owner, Window(line.room, self._room))
        window.fill(tasks, edge)
        if tasks:
            line.turns.join(queue.owner)
        if window.suspects:
            line.suspects[queue.owner] = None
        line.let_go(queue.owner, window)
        return len(rows)
