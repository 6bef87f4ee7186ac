"""Which task is next, out of a window over what may be far more in the store."""

from __future__ import annotations

import pytest

from cluster import ready, windows
from cluster.ready import Ready
from cluster.store import Queue, Writes
from cluster.task import DEFAULT_KEY, RESUMED, Task

from .making import AGENT, task

QUEUE = Queue(AGENT, "", "", DEFAULT_KEY)


class Shelf:
    """What the store would have."""

    def __init__(self, *tasks: Task) -> None:
        self.tasks = {each.ref: each for each in tasks}
        self.reads = 0

    async def ready(self, queue: Queue, now: float, limit: int) -> list[Task]:
        self.reads += 1
        found = [
            each
            for each in self.tasks.values()
            if (each.agent, each.lane, each.tenant, each.limit_key) == queue and each.run_at <= now
        ]
        return sorted(found, key=lambda each: (-each.priority, each.rank, each.id))[:limit]

    async def due(self, queue: Queue, now: float) -> float | None:
        return min((each.run_at for each in self.tasks.values() if each.run_at > now), default=None)

    def make(self) -> Ready:
        return Ready(self.ready, self.due)


async def drain(line: Ready, shelf: Shelf, now: float = 0.0) -> list[Task]:
    """Everything that is handed out, in order."""
    taken = []
    for _ in range(10_000):
        await line.fill(now, Writes())
        while (found := line.next(AGENT)) is not None:
            each = line.take(AGENT, found[0], 1.0)
            shelf.tasks.pop(each.ref, None)
            taken.append(each)
        if not line.hungry:
            return taken
    raise AssertionError("it never ends")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows that are soon full."""
    monkeypatch.setattr(windows, "WINDOW", 10)
    monkeypatch.setattr(windows, "REFILL", 8)


async def test_a_window_hands_out_all_of_the_store_in_order() -> None:
    tasks = [task(priority=n % 3) for n in range(50)]
    shelf = Shelf(*tasks)
    line = shelf.make()
    line.know(QUEUE)

    taken = await drain(line, shelf)

    assert taken == sorted(tasks, key=lambda each: (-each.priority, each.id))


async def test_what_comes_meanwhile_takes_its_place() -> None:
    shelf = Shelf(*(task() for _ in range(30)))
    line = shelf.make()
    line.know(QUEUE)
    await line.fill(0.0, Writes())
    urgent, last, resumed = task(priority=1), task(), task(rank=RESUMED)
    for each in (urgent, last, resumed):
        shelf.tasks[each.ref] = each
        line.add(each, 0.0)

    taken = await drain(line, shelf)

    assert taken[:2] == [urgent, resumed]
    assert taken[-1] == last
    assert len(taken) == len(set(taken)) == 33


async def test_more_than_a_window_holds_stays_in_the_store_and_comes_later() -> None:
    shelf, line = Shelf(), Shelf().make()
    line = shelf.make()
    tasks = [task() for _ in range(40)]
    for each in tasks:
        shelf.tasks[each.ref] = each
        line.add(each, 0.0)

    assert line.size(AGENT) == 10
    assert await drain(line, shelf) == tasks


async def test_a_window_that_ran_empty_is_filled_again_whoever_looks() -> None:
    """Who hands out no more than is in memory does not look a second time."""
    shelf = Shelf(task())
    line = shelf.make()
    line.know(QUEUE)
    await line.fill(0.0, Writes())
    tasks = [*shelf.tasks.values(), *(task() for _ in range(30))]
    for each in tasks[1:]:
        shelf.tasks[each.ref] = each
        line.add(each, 0.0)

    taken: list[Task] = []
    while size := line.size(AGENT):
        for _ in range(size):
            found = line.next(AGENT)
            assert found is not None
            taken.append(line.take(AGENT, found[0], 1.0))
            del shelf.tasks[taken[-1].ref]
        await line.fill(0.0, Writes())

    assert taken == tasks


async def test_a_window_that_is_emptied_by_cancels_is_filled_again() -> None:
    tasks = [task() for _ in range(20)]
    shelf = Shelf(*tasks)
    line = shelf.make()
    line.know(QUEUE)
    await line.fill(0.0, Writes())
    gone = {each.ref: each._replace(state="canceled") for each in tasks[:16]}
    for each in tasks[:16]:
        line.discard(each)

    await line.fill(0.0, Writes(moved=gone))  # all that is read is on its way out
    for ref in gone:
        del shelf.tasks[ref]
    await line.fill(0.0, Writes())

    assert line.size(AGENT) == 4
    assert await drain(line, shelf) == tasks[16:]


async def test_suspects_do_not_hide_what_comes_after_them() -> None:
    alone, others = [task(isolated=1) for _ in range(20)], [task() for _ in range(3)]
    shelf = Shelf(*alone, *others)
    line = shelf.make()
    line.know(QUEUE)

    assert await drain(line, shelf) == others
    assert not line.hungry


async def test_what_this_tick_moved_is_laid_over_what_the_store_says() -> None:
    gone, stays = task(), task()
    shelf = Shelf(gone, stays)
    line = shelf.make()
    line.know(QUEUE)
    back = task()
    writes = Writes(new={back.ref: back}, moved={gone.ref: gone._replace(state="canceled")})

    await line.fill(0.0, writes)

    assert [line.take(AGENT, found[0], 1.0) for _ in range(2) if (found := line.next(AGENT))] == [stays, back]
    assert line.next(AGENT) is None


async def test_a_delayed_task_comes_when_it_is_due_and_not_before() -> None:
    later, now = task(run_at=50.0), task()
    shelf = Shelf(later, now)
    line = shelf.make()
    line.add(later, 0.0)
    line.add(now, 0.0)

    assert await drain(line, shelf) == [now]
    assert line.next_alarm() == 50.0
    assert await drain(line, shelf, 49.0) == []
    assert await drain(line, shelf, 50.0) == [later]


async def test_an_alarm_that_rings_does_not_take_those_of_its_tick_with_it() -> None:
    first, second = task(run_at=10.0), task(run_at=20.0)
    shelf = Shelf(first)
    line = shelf.make()
    line.add(first, 0.0)
    line.add(second, 10.1)

    await line.fill(10.1, Writes(new={second.ref: second}))  # which the store does not have before its commit

    assert line.next_alarm() == 20.0


async def test_one_keys_million_does_not_hold_up_anothers_ten() -> None:
    many = [task(limit_key="many") for _ in range(200)]
    few = [task(limit_key="few") for _ in range(10)]
    shelf = Shelf(*many, *few)
    line = shelf.make()
    for key in ("many", "few"):
        line.know(Queue(AGENT, "", "", key))

    taken = await drain(line, shelf)

    assert [each.limit_key for each in taken[:20]].count("few") == 10
    assert len(taken) == 210


async def test_a_key_that_is_passed_over_keeps_its_place() -> None:
    held, free = task(limit_key="held"), task(limit_key="free")
    shelf = Shelf(held, free)
    line = shelf.make()
    line.add(held, 0.0)
    line.add(free, 0.0)
    line.pass_over(AGENT, ("", "held"))

    assert await drain(line, shelf) == [free]
    line.resume(AGENT, ("", "held"))
    assert await drain(line, shelf) == [held]


async def test_while_there_is_no_room_each_queue_still_gets_its_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "WINDOWS", 4)
    monkeypatch.setattr(ready, "REFILL_FULL", 2)
    tasks = [task(limit_key=f"k{n % 5}") for n in range(50)]
    shelf = Shelf(*tasks)
    line = shelf.make()
    for each in tasks:
        line.add(each, 0.0)

    assert line.size(AGENT) == 4
    assert sorted(await drain(line, shelf)) == sorted(tasks)


async def test_a_task_to_run_alone_waits_apart() -> None:
    alone, other = task(isolated=1), task()
    shelf = Shelf(alone, other)
    line = shelf.make()
    line.know(QUEUE)
    await line.fill(0.0, Writes())

    assert line.suspects(AGENT) == [QUEUE.owner]
    assert line.take_suspect(AGENT, QUEUE.owner) == alone
    assert line.suspects(AGENT) == []
    found = line.next(AGENT)
    assert found is not None
    assert found[1] == other


async def test_nothing_is_kept_of_a_queue_that_has_nothing() -> None:
    tasks = [task(limit_key=f"k{n}", isolated=int(n == 3)) for n in range(4)]
    shelf = Shelf(*tasks)
    line = shelf.make()
    for each in tasks:
        line.add(each, 0.0)
    line.know(Queue(AGENT, "", "", "empty"))
    await line.fill(0.0, Writes())

    found = line.next(AGENT)
    assert found is not None
    line.take(AGENT, found[0], 1.0)
    line.discard(tasks[1])
    line.take_suspect(AGENT, ("", "k3"))

    assert list(line.line(AGENT).windows) == [("", "k2")]
    assert len(line.line(AGENT).turns) == 1


async def test_of_many_queues_only_those_whose_turn_comes_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "WINDOWS", 30)
    monkeypatch.setattr(ready, "LOOKS", 5)
    tasks = [task(limit_key=f"k{n % 100}") for n in range(1000)]
    shelf = Shelf(*tasks)
    line = shelf.make()
    for n in range(100):
        line.know(Queue(AGENT, "", "", f"k{n}"))

    await line.fill(0.0, Writes())
    assert shelf.reads == 5
    assert line.any(AGENT)
    taken: list[Task] = []
    most = 0
    while len(taken) < 1000:
        while (found := line.next(AGENT)) is not None:
            taken.append(line.take(AGENT, found[0], 1.0))
            del shelf.tasks[taken[-1].ref]
        await line.fill(0.0, Writes())
        most = max(most, line.line(AGENT).room.tasks)

    assert most <= 30 + 100
    assert sorted(taken) == sorted(tasks)
    assert all(len({each.limit_key for each in taken[at : at + 200]}) == 100 for at in range(0, 1000, 200))
