"""What every store promises of what a ledger goes by: queues, alarms, ages, counts and rules."""

from __future__ import annotations

import math
from collections import defaultdict

from cluster.limits import Rule
from cluster.pages import PAGE_BYTES, is_cut, weight
from cluster.store import Queue, Store, Writes
from cluster.task import DEFAULT_KEY, RESUMED, Filter, State

from .making import AGENT, task
from .rows import moved, new

QUEUE = Queue(AGENT, "", "", DEFAULT_KEY)


class QueueingContract:
    """A part of the StoreContract, whose `store` it uses."""

    def again(self, store: Store) -> Store:
        raise NotImplementedError

    async def test_ready_is_by_priority_then_age_and_leaves_out_what_is_not_due(self, store: Store) -> None:
        old, young, urgent, later = task(), task(), task(priority=5), task(run_at=50.0)
        await store.commit(new(young, old, urgent, later, task(agent="other"), task(state=State.COMPLETED)))

        assert [found.id for found in await store.ready(QUEUE, 10.0, 10)] == [urgent.id, old.id, young.id]
        assert [found.id for found in await store.ready(QUEUE, 10.0, 1)] == [urgent.id]
        assert len(await store.ready(QUEUE, 50.0, 10)) == 4

    async def test_queues_are_told_with_the_next_moment_of_each(self, store: Store) -> None:
        await store.commit(
            new(
                *(task(), task(run_at=70.0), task(run_at=60.0)),
                *(task(limit_key="k"), task(tenant="t"), task(agent="b"), task(agent="c", state=State.FAILED)),
            )
        )

        named = Queue(AGENT, "", "", "k")
        assert set(await store.queues()) == {QUEUE, named, QUEUE._replace(tenant="t"), QUEUE._replace(agent="b")}
        assert await store.due(QUEUE, 10.0) == 60.0
        assert await store.due(QUEUE, 60.0) == 70.0
        assert await store.due(named, 10.0) is None
        assert await store.dues(10.0) == [(QUEUE, 60.0)]
        assert await store.dues(70.0) == []

    async def test_a_queue_is_of_one_agent_tenant_and_limit_key_and_resumed_tasks_go_first(self, store: Store) -> None:
        first, resumed = task(limit_key="k"), task(limit_key="k", rank=RESUMED)
        others = task(), task(limit_key="k", tenant="t"), task(limit_key="k", agent="b")
        await store.commit(new(first, resumed, *others))

        found = await store.ready(Queue(AGENT, "", "", "k"), 0.0, 10)

        assert [each.id for each in found] == [resumed.id, first.id]

    async def test_a_queue_is_of_one_lane(self, store: Store) -> None:
        gpu, other = '{"shape":{"gpus":1}}', '{"market":"spot"}'
        plain, first, later = task(), task(lane=gpu), task(lane=gpu, run_at=70.0)
        await store.commit(new(plain, first, later, task(lane=other)))
        queue = QUEUE._replace(lane=gpu)

        assert set(await store.queues()) == {QUEUE, queue, QUEUE._replace(lane=other)}
        assert await store.ready(queue, 0.0, 10) == [first]
        assert await store.ready(QUEUE, 0.0, 10) == [plain]
        assert (await store.due(queue, 0.0), await store.due(QUEUE, 0.0)) == (70.0, None)
        assert await store.dues(0.0) == [(queue, 70.0)]
        assert await store.ahead(later, 99.0, 10) == 1
        await store.commit(moved(first._replace(lane="")))
        assert [each.id for each in await store.ready(QUEUE, 0.0, 10)] == [plain.id, first.id]

    async def test_tasks_in_lanes_are_counted(self, store: Store) -> None:
        await store.commit(Writes(lanes=defaultdict(int, {(AGENT, "a", "queued"): 3, (AGENT, "b", "running"): 1})))
        await store.commit(Writes(lanes=defaultdict(int, {(AGENT, "a", "queued"): -1, (AGENT, "b", "running"): -1})))

        assert await self.again(store).lanes() == [(AGENT, "a", "queued", 2)]

    async def test_ahead_counts_what_is_due_and_comes_before(self, store: Store) -> None:
        tasks = [task(), task(), task(priority=1), task(rank=RESUMED), task(run_at=99.0), task()]
        await store.commit(new(*tasks, task(limit_key="k")))

        assert await store.ahead(tasks[5], 10.0, 100) == 4
        assert await store.ahead(tasks[5], 100.0, 100) == 5
        assert await store.ahead(tasks[5], 10.0, 2) == 2
        assert await store.ahead(tasks[2], 10.0, 100) == 0
        assert await store.ahead(tasks[3], 10.0, 100) == 1

    async def test_a_page_ends_where_it_has_enough_bytes(self, store: Store) -> None:
        large = '"' + "é" * (PAGE_BYTES // 4) + '"'  # in UTF-8 half a page and a little
        tasks = [
            task(input=large, batch_id="b", state=State.WAITING, run_at=5.0, deadline=5.0, parent_id="p")
            for _ in range(3)
        ]
        queued = [task(input=large, limit_key="k", batch_id="q") for _ in range(3)]
        await store.commit(new(*tasks, *queued))

        assert await store.tasks("", Filter(batch_id="b"), None, 10) == [tasks[2], tasks[1]]
        assert await store.tasks("", Filter(batch_id="b"), tasks[1].id, 10) == [tasks[0]]
        assert await store.in_batch("", "b", "", 10) == tasks[:2]
        assert await store.ready(Queue(AGENT, "", "", "k"), 0.0, 10) == queued[:2]
        assert is_cut(queued[:2], weight)
        assert not is_cut(queued[:1], weight)
        for found in (await store.wakes(9.0, 10), await store.overdue(9.0, 10), await store.children("", "p", 10)):
            assert len(found) == 2

    async def test_many_finds_those_that_there_are(self, store: Store) -> None:
        one, two = task(), task(tenant="t")
        await store.commit(new(one, two))

        assert await store.many([one.ref, two.ref, ("", two.id), one.ref]) == {one.ref: one, two.ref: two}
        assert await store.many([]) == {}

    async def test_wakes_are_waiting_tasks_whose_moment_has_come(self, store: Store) -> None:
        late, soon, never = (task(state=State.WAITING, run_at=at, waiting_on="{}") for at in (20.0, 10.0, 0.0))
        await store.commit(new(late, soon, never, task(run_at=5.0)))

        assert [each.id for each in await store.wakes(15.0, 10)] == [soon.id]
        assert [each.id for each in await store.wakes(20.0, 10)] == [soon.id, late.id]
        assert [each.id for each in await store.wakes(20.0, 1)] == [soon.id]
        assert (await store.alarms())[0] == 10.0

    async def test_overdue_are_idle_tasks_past_their_deadline(self, store: Store) -> None:
        queued, waiting = task(deadline=10.0), task(deadline=9.0, state=State.WAITING)
        others = task(), task(deadline=9.0, state=State.RUNNING, worker="w"), task(deadline=9.0, state=State.FAILED)
        await store.commit(new(queued, waiting, *others))

        assert [each.id for each in await store.overdue(10.0, 10)] == [waiting.id, queued.id]
        assert [each.id for each in await store.overdue(9.5, 10)] == [waiting.id]
        assert (await store.alarms())[1] == 9.0

    async def test_alarms_are_none_where_nothing_waits(self, store: Store) -> None:
        await store.commit(new(task()))

        assert await store.alarms() == (None, None)

    async def test_oldest_is_since_when_a_task_of_each_agent_could_have_started(self, store: Store) -> None:
        await store.commit(
            new(
                *(task(created_at=5.0, priority=-1), task(created_at=7.0), task(created_at=1.0, run_at=8.0)),
                *(task(created_at=1.0, state=State.COMPLETED), task(created_at=1.0, run_at=11.0)),
                *(task(created_at=2.0, run_at=3.0, agent="b"), task(created_at=2.0, run_at=11.0, agent="c")),
            )
        )

        assert await store.oldest(10.0) == {AGENT: 5.0, "b": 3.0}
        assert await store.oldest(11.0) == {AGENT: 5.0, "b": 3.0, "c": 11.0}

    async def test_counts_follow_each_move(self, store: Store) -> None:
        one, two = task(), task()
        await store.commit(new(one, two))
        writes = moved(one._replace(state=State.RUNNING.value, worker="w"))
        writes.counts.update({(AGENT, "queued"): -1, (AGENT, "running"): 1})

        await store.commit(writes)

        assert sorted(await store.counts()) == [(AGENT, "queued", 1), (AGENT, "running", 1)]

    async def test_rules_are_kept_by_tenant_and_key(self, store: Store) -> None:
        old = Rule("", "k", concurrency=1)
        rule = Rule("", "k", None, 10, 60.0, 2.5, 99.0, 12.5)
        other = Rule("t", "k", concurrency=0)
        await store.commit(Writes(rules={("", "k"): old}))

        await store.commit(Writes(rules={("", "k"): rule, ("t", "k"): other}))

        assert sorted(await self.again(store).rules()) == [rule, other]

    async def test_a_pause_without_end_is_kept(self, store: Store) -> None:
        rule = Rule("", "agent:echo", paused_until=math.inf)

        await store.commit(Writes(rules={("", "agent:echo"): rule}))

        assert await store.rules() == [rule]
