"""What every store promises; each backend's test class inherits all of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from cluster import sweeper
from cluster.errors import Fenced, StoreProblem
from cluster.pages import PAGE_BYTES
from cluster.store import KeyRow, Past, SignalRow, Store, StoreFailed, Writes
from cluster.task import Event, Filter, State

from .artifact_sweeping_contract import ArtifactSweepingContract
from .keeping_contract import KeepingContract
from .making import AGENT, task
from .queueing_contract import QueueingContract
from .rows import event_row, moved, new, step_row
from .sweeping_contract import SweepingContract


class StoreContract(QueueingContract, KeepingContract, SweepingContract, ArtifactSweepingContract):
    """Subclasses give `taken`: a store and its current generation, and `again`: another store over the same facts."""

    def taken(self) -> tuple[Store, str, int]:
        raise NotImplementedError

    def again(self, store: Store) -> Store:
        raise NotImplementedError

    def retake(self, store: Store) -> tuple[str, int]:
        """Someone else becomes the owner."""
        raise NotImplementedError

    @pytest.fixture(autouse=True)
    def _no_rest(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A pass of the sweeper does not pause."""
        monkeypatch.setattr(sweeper, "REST", 0.0)

    @pytest.fixture
    async def store(self) -> AsyncIterator[Store]:
        store, store_id, generation = self.taken()
        await store.open(store_id, generation)
        yield store
        await store.close()

    async def test_what_was_committed_is_there_after_a_restart(self, store: Store) -> None:
        one = task(tags='["a"]', batch_id="b1", priority=3)

        await store.commit(new(one))

        assert await self.again(store).task("", one.id) == one

    async def test_a_new_task_may_run_already_with_steps_and_events_of_its_own(self, store: Store) -> None:
        one = task(state=State.RUNNING, worker="replica-1", fence=1, attempts=1, started_at=9.0)
        writes = new(one)
        writes.steps, writes.events, writes.claimed = [step_row(one, "think", 1)], [event_row(one, 2)], [one]

        await store.commit(writes)

        assert await store.task("", one.id) == one
        assert [task.id for task in await store.running()] == [one.id]
        assert await store.progress("", one.id, 1) == (3, 2)

    async def test_another_tenant_sees_nothing(self, store: Store) -> None:
        one = task()

        await store.commit(new(one))

        assert await store.task("other", one.id) is None
        assert await store.tasks("other", Filter(), None, 10) == []
        assert await store.events("other", one.id, -1, 10) == (None, [])

    async def test_a_move_changes_what_moves_and_nothing_else(self, store: Store) -> None:
        one = task()
        await store.commit(new(one))

        ended = one._replace(state=State.COMPLETED, output="1", ended_at=9.0, events=2, started_at=8.0, attempts=1)
        await store.commit(moved(ended))

        assert await store.task("", one.id) == ended

    async def test_a_transaction_with_one_bad_row_stores_nothing_of_itself(self, store: Store) -> None:
        one, two = task(), task()
        await store.commit(new(one))

        with pytest.raises(StoreFailed):
            await store.commit(new(two, one))

        assert await store.task("", two.id) is None
        await store.commit(new(two))
        assert await store.task("", two.id) == two

    async def test_a_step_is_recorded_once(self, store: Store) -> None:
        one = task()
        await store.commit(new(one))
        await store.commit(Writes(steps=[step_row(one, "think", 1)]))

        with pytest.raises(StoreFailed):
            await store.commit(Writes(steps=[step_row(one, "think", 2)]))

        assert [step.seq for step in await store.steps("", one.id)] == [1]

    async def test_a_fenced_owner_writes_nothing(self, store: Store) -> None:
        self.retake(store)

        with pytest.raises(Fenced):
            await store.commit(new(task()))

        assert await store.tasks("", Filter(), None, 10) == []

    async def test_a_restart_resumes_its_own_generation_only(self, store: Store) -> None:
        store_id, generation = self.retake(store)

        with pytest.raises(Fenced):
            await self.again(store).open(store_id, generation - 1)
        with pytest.raises(StoreProblem):
            await self.again(store).open("another", generation)

    async def test_the_tick_counts_commits(self, store: Store) -> None:
        await store.commit(new(task()))
        await store.commit(new(task()))

        store_id, generation = self.retake(store)

        assert (await self.again(store).open(store_id, generation)).tick == 0

    async def test_lists_are_newest_first_filtered_and_paged(self, store: Store) -> None:
        tasks = [task(tags='["odd"]' if n % 2 else "[]", batch_id="b" if n < 2 else None) for n in range(5)]
        await store.commit(new(*tasks))
        ids = [one.id for one in reversed(tasks)]

        assert [one.id for one in await store.tasks("", Filter(), None, 3)] == ids[:3]
        assert [one.id for one in await store.tasks("", Filter(), ids[2], 3)] == ids[3:]
        assert [one.id for one in await store.tasks("", Filter(tag="odd"), None, 9)] == [ids[1], ids[3]]
        assert [one.id for one in await store.tasks("", Filter(batch_id="b"), None, 9)] == ids[3:]
        assert await store.tasks("", Filter(agent="nobody"), None, 9) == []
        assert len(await store.tasks("", Filter(agent=AGENT, state="queued"), None, 9)) == 5

    async def test_a_list_may_be_of_those_that_have_ended_or_have_not(self, store: Store) -> None:
        tasks = {state.value: task(state=state.value, agent="a") for state in State}
        await store.commit(new(*tasks.values(), task(agent="b")))

        going = await store.tasks("", Filter(agent="a", ended=False), None, 9)
        ended = await store.tasks("", Filter(agent="a", ended=True), None, 9)

        assert [one.state for one in going] == ["waiting", "running", "queued"]
        assert [one.state for one in ended] == ["canceled", "failed", "completed"]

    async def test_an_idempotency_key_finds_its_tasks(self, store: Store) -> None:
        one = task()
        row = KeyRow("", "/v1/tasks", "k", "digest", None, f'["{one.id}"]', one.id)
        writes = new(one, task())
        writes.keys[row[:3]] = row

        await store.commit(writes)

        assert await store.key("", "/v1/tasks", "k") == row
        assert await store.key("other", "/v1/tasks", "k") is None
        assert await store.key("", "/elsewhere", "k") is None
        assert [found.id for found in await store.tasks("", Filter(idempotency_key="k"), None, 9)] == [one.id]

    async def test_events_are_whole_whoever_implies_them(self, store: Store) -> None:
        one = task(started_at=2.0, ended_at=9.0, state=State.COMPLETED, output="7", attempts=1, events=4)
        writes = new(one)
        writes.steps.append(step_row(one, "think", 2))
        writes.events.append(event_row(one, 1))
        await store.commit(writes)

        found, events = await store.events("", one.id, -1, 10)

        assert found == one
        assert [event.seq for event in events] == [0, 1, 2, 3]
        assert [event.type for event in events] == ["attempt.started", "progress", "step.completed", "output"]
        assert events[3].data == '{"output":7}'
        assert [event.seq for event in (await store.events("", one.id, 1, 10))[1]] == [2, 3]
        assert [event.seq for event in (await store.events("", one.id, -1, 2))[1]] == [0, 1]

    async def test_a_later_attempt_names_the_events_that_no_longer_count(self, store: Store) -> None:
        one = task(started_at=2.0, state=State.RUNNING, attempts=2)
        writes = new(one)
        writes.steps.append(step_row(one, "kept", 3))
        writes.events += [
            event_row(one, 1, step="kept#0"),
            event_row(one, 2),
            event_row(one, 4, step="lost#0"),
            event_row(one, 5, "attempt.started", attempt=2),
        ]
        await store.commit(writes)

        _, events = await store.events("", one.id, 4, 10)
        assert events[0].data == '{"discard": [4]}'

    async def test_a_restart_names_what_was_stale_then_though_it_was_recorded_later(self, store: Store) -> None:
        one = task(started_at=2.0, state=State.RUNNING, attempts=3)
        writes = new(one)
        writes.steps.append(step_row(one, "slow", 3))
        writes.events += [
            event_row(one, 1, step="slow#0"),
            event_row(one, 2, "attempt.started", attempt=2),
            event_row(one, 4, step="lost#0"),
            event_row(one, 5, "attempt.started", attempt=3),
        ]
        await store.commit(writes)

        for after in (-1, 1):  # whether or not the page begins with the log
            _, events = await store.events("", one.id, after, 10)
            restarts = [event.data for event in events if event.type == "attempt.started" and event.seq]
            assert restarts == ['{"discard": [1]}', '{"discard": [4]}']

    async def test_a_page_of_events_goes_on_where_the_last_ended_whatever_implies_them(self, store: Store) -> None:
        one = task(started_at=2.0, ended_at=9.0, state=State.FAILED, error="{}", attempts=1, events=8)
        writes = new(one)
        writes.steps += [step_row(one, f"s{seq}", seq) for seq in (2, 3, 5)]
        writes.events += [event_row(one, seq) for seq in (1, 4, 6)]
        await store.commit(writes)
        _, whole = await store.events("", one.id, -1, 10)

        pages: list[Event] = []
        while page := (await store.events("", one.id, pages[-1].seq if pages else -1, 2))[1]:
            pages += page

        assert [event.seq for event in whole] == list(range(8))
        assert pages == whole

    async def test_progress_tells_a_restarted_ledger_where_it_was(self, store: Store) -> None:
        one = task(state=State.RUNNING, worker="w", fence=2)
        writes = new(one)
        writes.steps.append(step_row(one, "think", 1, fence=1, report=9))
        writes.steps.append(step_row(one, "write", 2, fence=2, report=4))
        await store.commit(writes)

        assert await store.progress("", one.id, 2) == (3, 4)
        assert await store.progress("", "nothing", 1) == (1, 0)
        assert await store.running() == [one]

    async def test_counts_are_by_agent_and_state(self, store: Store) -> None:
        await store.commit(new(task(), task(), task(agent="b", state=State.FAILED)))

        assert sorted(await store.counts()) == [("b", "failed", 1), (AGENT, "queued", 2)]

    async def test_only_emits_outside_of_steps_count_as_emitted(self, store: Store) -> None:
        one = task()
        writes = new(one)
        writes.events += [event_row(one, 1), event_row(one, 2, step="a#0"), event_row(one, 3, "attempt.started")]
        await store.commit(writes)

        assert (await store.pasts([one.ref]))[one.ref].emitted == 1

    # what is kept of a task

    async def test_a_past_is_what_earlier_claims_left(self, store: Store) -> None:
        one, two = task(signals=3), task()
        writes = new(one, two)
        writes.steps += [step_row(one, "b", 4), step_row(one, "a", 2)]
        writes.events += [
            *(event_row(one, 1), event_row(one, 3, "step.started", step="a#0")),
            event_row(one, 5, "step.started", step="pay#0"),
        ]
        writes.signals += [SignalRow(*one.ref, number, "go", f"{number}", 5.0) for number in range(3)]
        await store.commit(writes)
        await store.commit(Writes(signals=[SignalRow(*one.ref, 3, "go", "3", 5.0)], taken=[(*one.ref, 1)]))

        pasts = await store.pasts([one.ref, two.ref])

        assert [row.name for row in pasts[one.ref].steps] == ["a", "b"]
        assert pasts[one.ref].emitted == 1
        assert pasts[one.ref].started == ("pay#0",)
        assert [(row.number, row.payload) for row in pasts[one.ref].signals] == [(0, "0"), (2, "2"), (3, "3")]
        assert pasts[two.ref] == Past()

    async def test_a_page_of_a_journal_and_of_events_ends_where_it_has_enough_bytes(self, store: Store) -> None:
        one = task(started_at=2.0, ended_at=9.0, state=State.CANCELED, attempts=1, events=8)
        large = '"' + "é" * (PAGE_BYTES // 4) + '"'  # in UTF-8 half a page and a little
        writes = new(one)
        writes.steps += [step_row(one, f"s{seq}", seq)._replace(value=large) for seq in (1, 2, 3)]
        writes.events += [event_row(one, seq)._replace(data=large) for seq in (4, 5, 6)]
        await store.commit(writes)

        assert [step.seq for step in await store.steps("", one.id)] == [1, 2]
        assert [step.seq for step in await store.steps("", one.id, 2)] == [3]
        assert await store.steps("", one.id, 3) == []
        for after, seqs in ((-1, [0, 1, 2, 3, 4, 5]), (4, [5, 6]), (5, [6, 7]), (6, [7]), (7, [])):
            assert [event.seq for event in (await store.events("", one.id, after, 100))[1]] == seqs

    async def test_as_many_pasts_are_read_as_there_is_room_for(self, store: Store) -> None:
        small, large, last = (task() for _ in range(3))
        writes = new(small, large, last)
        writes.steps += [step_row(one, "think", 1) for one in (small, last)]
        writes.steps.append(step_row(large, "think", 1)._replace(value='"' + "é" * 1000 + '"'))
        writes.signals.append(SignalRow(*last.ref, 0, "go", '"' + "é" * 300 + '"', 5.0))
        await store.commit(writes)
        refs = [small.ref, large.ref, last.ref]
        pasts = await store.pasts(refs)

        assert await store.pasts(refs, 1200) == {small.ref: pasts[small.ref], large.ref: Past(large=True)}
        assert await store.pasts(refs[1:], 1200) == {large.ref: Past(large=True), last.ref: pasts[last.ref]}
        assert await store.pasts(refs, 2600) == {ref: pasts[ref] for ref in refs[:2]}
        assert await store.pasts(refs, 4000) == pasts

    async def test_a_key_that_exists_fails_the_transaction(self, store: Store) -> None:
        one, two = task(), task()
        for each, fails in ((one, False), (two, True)):
            writes = new(each)
            writes.keys["", "/v1/tasks", "k"] = KeyRow("", "/v1/tasks", "k", "d", None, f'["{each.id}"]', each.id)
            if fails:
                with pytest.raises(StoreFailed):
                    await store.commit(writes)
            else:
                await store.commit(writes)

        assert await store.task("", two.id) is None

    # families

    async def test_children_are_those_that_go_on(self, store: Store) -> None:
        parent = task(children=3, cancel_requested_at=1.0)
        going = task(parent_id=parent.id), task(parent_id=parent.id, state=State.WAITING)
        others = (
            *(
                task(parent_id=parent.id, cancel_requested_at=1.0),
                task(parent_id=parent.id, state=State.FAILED, told=1),
            ),
            *(task(), task(parent_id=parent.id, tenant="t")),
        )
        await store.commit(new(parent, *going, *others))

        assert {each.id for each in await store.children("", parent.id, 10)} == {each.id for each in going}
        assert len(await store.children("", parent.id, 1)) == 1
        assert [each.id for each in await store.orphans(10)] == [parent.id]

    async def test_a_parent_that_goes_on_has_no_orphans(self, store: Store) -> None:
        parent = task(children=1)
        await store.commit(new(parent, task(parent_id=parent.id)))

        assert await store.orphans(10) == []

    async def test_untold_are_children_that_ended_and_nobody_knows(self, store: Store) -> None:
        untold = task(parent_id="p", state=State.COMPLETED)
        others = task(parent_id="p"), task(parent_id="p", state=State.FAILED, told=1), task(state=State.FAILED)
        await store.commit(new(untold, *others))

        assert [each.id for each in await store.untold(10)] == [untold.id]

    async def test_a_list_may_be_of_one_parent(self, store: Store) -> None:
        child = task(parent_id="p")
        await store.commit(new(child, task()))

        assert [each.id for each in await store.tasks("", Filter(parent_id="p"), None, 9)] == [child.id]

    # batches

    async def test_a_batch_is_counted_by_state_and_gone_through_in_order(self, store: Store) -> None:
        tasks = [task(batch_id="b", state=State.FAILED if n == 1 else State.QUEUED) for n in range(3)]
        await store.commit(new(*reversed(tasks), task(batch_id="other"), task(batch_id="b", tenant="t")))

        assert await store.batch("", "b") == {"queued": 2, "failed": 1}
        assert await store.batch("", "none") == {}
        assert [each.id for each in await store.in_batch("", "b", "", 2)] == [tasks[0].id, tasks[1].id]
        assert [each.id for each in await store.in_batch("", "b", tasks[1].id, 2)] == [tasks[2].id]

    # texts

    @pytest.mark.parametrize("text", ["naïve ☃ 𝄞", "\\N", "a\tb\nc\\d", "'\"{},", ""])
    async def test_any_text_comes_back_as_it_was(self, store: Store, text: str) -> None:
        one = task(input=text, batch_id=text or None, limit_key=text)
        writes = new(one)
        writes.steps.append(step_row(one, "think", 1)._replace(value=text))
        await store.commit(writes)

        assert await store.task("", one.id) == one
        assert [step.value for step in await store.steps("", one.id)] == [text]
