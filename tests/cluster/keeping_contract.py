"""What every store promises of schedules, and of what is kept and what may go."""

from __future__ import annotations

from typing import Any

from cluster.apikeys import ApiKey
from cluster.schedule import Schedule
from cluster.sessions import Session
from cluster.store import EventRow, KeyRow, Reference, SignalRow, StepRow, Store, Writes
from cluster.task import Filter, Ref, State, Task, extra_json

from .making import AGENT, task
from .rows import new


def schedule(name: str = "nightly", **changes: Any) -> Schedule:
    """A schedule of `echo`, at three every night."""
    fields: dict[str, Any] = {
        "tenant": "",
        "name": name,
        "agent": AGENT,
        "input": '{"text":"hello"}',
        "cron": "0 3 * * *",
        "zone": "UTC",
        "overlap": "skip",
        "catch_up": "one",
        "template": "{}",
        "paused": 0,
        "next_at": 1_000_800.0,
        "last_at": None,
        "created_at": 1_000_000.0,
    }
    return Schedule(**(fields | changes))


def ended(at: float = 100.0, **changes: Any) -> Task:
    return task(**{"state": State.COMPLETED.value, "ended_at": at, "output": "1", "events": 2, **changes})


def schedules(*found: Schedule) -> Writes:
    return Writes(schedules={(each.tenant, each.name): each for each in found})


def sessions(*found: Session) -> Writes:
    return Writes(sessions={each.ref: each for each in found})


class KeepingContract:
    """A part of the StoreContract, whose `store` it uses."""

    def again(self, store: Store) -> Store:
        raise NotImplementedError

    async def test_schedules_are_kept_by_tenant_and_name(self, store: Store) -> None:
        one, other = schedule("b"), schedule("a", tenant="t")
        changed = one._replace(
            paused=1, next_at=None, last_at=5.0, held_at=7.25, cron="*/5 * * * *", template='{"a":1}'
        )
        await store.commit(schedules(one))

        await store.commit(schedules(changed, other))

        reopened = self.again(store)
        assert await reopened.schedules(None) == [changed, other]
        assert await reopened.schedules("t") == [other]
        assert await reopened.schedule("", "b") == changed
        assert await reopened.schedule("", "a") is None

    async def test_a_schedule_that_is_deleted_is_gone(self, store: Store) -> None:
        one, two = schedule("a"), schedule("b")
        await store.commit(schedules(one, two))

        await store.commit(Writes(schedules={("", "a"): None, ("", "never"): None}))

        assert await store.schedules("") == [two]
        assert await store.schedule("", "a") is None

    async def test_the_tasks_of_a_schedule_are_those_that_have_not_ended(self, store: Store) -> None:
        young, old = task(schedule="s", created_at=9.0), task(schedule="s", created_at=5.0, state=State.WAITING)
        others = task(), task(schedule="s", tenant="t"), task(schedule="other"), ended(schedule="s")
        await store.commit(new(young, old, *others))

        assert [each.id for each in await store.of_schedule("", "s", 10)] == [old.id, young.id]
        assert [each.id for each in await store.of_schedule("", "s", 1)] == [old.id]

    async def test_api_keys_are_kept_by_tenant_and_id(self, store: Store) -> None:
        old = ApiKey("", "k1", "ci", "run", "d1", 5.5)
        key = ApiKey("", "k1", "CI", "run submit", "d2", 5.5, 1e9 + 0.25, 7.5, 3, 0.5)
        other = ApiKey("t", "k1", "", "admin", "d3", 6.0)
        await store.commit(Writes(api_keys={("", "k1"): old}))

        await store.commit(Writes(api_keys={("", "k1"): key, ("t", "k1"): other}))

        assert sorted(await self.again(store).api_keys()) == [key, other]

    async def test_an_api_key_that_goes_is_gone(self, store: Store) -> None:
        one, other = ApiKey("", "k1", "", "run", "d1", 5.5), ApiKey("t", "k1", "", "run", "d2", 5.5)
        await store.commit(Writes(api_keys={("", "k1"): one, ("t", "k1"): other}))

        await store.commit(Writes(api_keys={("", "k1"): None, ("", "never"): None}))

        assert await store.api_keys() == [other]

    async def test_sessions_are_kept_by_tenant_agent_and_id(self, store: Store) -> None:
        old = Session("", "support", "s1", 1, '{"turns":1}', "w1", 5.5)
        new = Session("", "support", "s1", 2, '{"turns":2,"text":"\\u0000 ünï"}', "", 1e9 + 0.25)
        others = Session("t", "support", "s1", 7, "7", "w", 6.0), Session("", "other", "s1", 8, "8", "w", 6.0)
        await store.commit(sessions(old))

        await store.commit(sessions(new, *others))

        reopened = self.again(store)
        assert [await reopened.session(*each.ref) for each in (new, *others)] == [new, *others]
        assert await reopened.session("", "support", "s1", False) == new._replace(value="")
        assert await reopened.session("", "support", "s2") is None
        assert await reopened.session("", "support", "s2", False) is None

    async def test_a_session_that_goes_is_gone(self, store: Store) -> None:
        one, other = (Session("", "support", id, 1, "1", "", 5.0) for id in ("a", "b"))
        await store.commit(sessions(one, other))

        await store.commit(Writes(sessions={one.ref: None, ("", "support", "never"): None}))

        assert await store.session(*one.ref) is None
        assert await store.session(*other.ref) == other

    async def test_idle_sessions_are_those_that_were_written_before_the_oldest_first(self, store: Store) -> None:
        found = [Session("", "support", f"s{at}", 1, "1", "", float(at)) for at in (3, 1, 2, 4)]
        await store.commit(sessions(*found))

        assert await store.idle(4.0, 9) == [("", "support", id) for id in ("s1", "s2", "s3")]
        assert await store.idle(4.0, 2) == [("", "support", id) for id in ("s1", "s2")]
        assert await store.idle(1.0, 9) == []

    async def test_the_tasks_of_a_session_are_listed(self, store: Store) -> None:
        mine = [task(extra=extra_json(session="ü 1")), ended(extra=extra_json(retry={"base": 1.0}, session="ü 1"))]
        others = task(), task(extra=extra_json(retry={"base": 1.0})), task(extra=extra_json(session="2"))
        await store.commit(new(*mine, *others, task(tenant="t", extra=extra_json(session="ü 1"))))

        found = await store.tasks("", Filter(session="ü 1"), None, 9)

        assert found == sorted(mine, key=lambda each: each.id, reverse=True)
        assert await store.tasks("", Filter(session="ü 1", state="completed"), None, 9) == [mine[1]]
        assert await store.tasks("", Filter(session="3"), None, 9) == []

    async def test_a_sweep_finds_what_ended_before(self, store: Store) -> None:
        over = ended(100.0), ended(100.0, state=State.FAILED), ended(100.0, state=State.CANCELED, tenant="t")
        others = ended(200.0), task(), task(state=State.WAITING), task(state=State.RUNNING, worker="w")
        await store.commit(new(*over, *others))

        assert await swept(store, 200.0) == {each.ref for each in over}
        assert await swept(store, 100.0) == set()

    async def test_a_sweep_goes_through_all_tasks_in_small_looks(self, store: Store) -> None:
        tasks = [ended(tenant=tenant) for tenant in ("", "a", "b") for _ in range(5)]
        await store.commit(new(*reversed(tasks)))
        seen: list[Ref] = []
        after: Ref | None = None
        looks = 0

        while looks == 0 or after is not None:
            look = await store.sweep(after, 200.0, 4)
            assert len(look.over) <= 4
            seen += look.over
            after = look.next
            looks += 1

        assert seen == [each.ref for each in tasks]
        assert looks == 4

    async def test_a_sweep_begins_where_it_is_told(self, store: Store) -> None:
        tasks = [ended() for _ in range(3)]
        await store.commit(new(*tasks, ended(tenant="t")))

        look = await store.sweep(tasks[0].ref, 200.0, 2)

        assert (look.over, look.next) == ((tasks[1].ref, tasks[2].ref), tasks[2].ref)
        assert [tenant for tenant, _ in (await store.sweep(("", "~"), 200.0, 9)).over] == ["t"]

    async def test_a_child_stays_until_its_parent_may_go(self, store: Store) -> None:
        alive, young, old = task(), ended(200.0), ended(100.0)
        kept = ended(parent_id=alive.id, told=1), ended(parent_id=young.id, told=1), ended(parent_id=old.id)
        free = ended(parent_id=old.id, told=1), ended(parent_id="gone", told=1)
        await store.commit(new(alive, young, old, *kept, *free))

        assert await swept(store, 200.0) == {old.ref, *(each.ref for each in free)}

    async def test_what_is_gone_leaves_nothing_behind(self, store: Store) -> None:
        going, staying = ended(schedule="s"), ended(tenant="t")
        await store.commit(_whole(going, staying))
        writes = Writes(gone=[going.ref])
        writes.counts[AGENT, "completed"] = -1

        await store.commit(writes)

        reopened = self.again(store)
        assert await _traces(reopened, going) == (None, [], [], 0, None, set())
        assert await _traces(reopened, staying) != (None, [], [], 0, None, set())
        assert await reopened.tasks("", Filter(), None, 9) == []
        assert await reopened.counts() == [(AGENT, "completed", 1)]

    async def test_what_is_gone_may_come_again(self, store: Store) -> None:
        one = ended()
        await store.commit(_whole(one))
        await store.commit(Writes(gone=[one.ref]))

        await store.commit(_whole(one))

        assert (await store.task("", one.id), len(await store.steps("", one.id))) == (one, 1)

    async def test_to_delete_what_is_not_there_changes_nothing(self, store: Store) -> None:
        one = ended()
        await store.commit(new(one))

        await store.commit(Writes(gone=[("", "nothing"), ("t", one.id)]))

        assert await store.task("", one.id) == one

    async def test_an_artifact_is_referenced_as_long_as_some_task_names_it(self, store: Store) -> None:
        one, two = ended(), ended()
        writes = new(one, two)
        writes.references |= {Reference("", "a", one.id), Reference("", "b", one.id), Reference("", "b", two.id)}
        await store.commit(writes)
        await store.commit(Writes(moved={two.ref: two}, references={Reference("", "b", two.id)}))

        assert await store.referenced("", ["a", "b", "c"]) == {"a", "b"}
        assert await store.referenced("t", ["a", "b", "c"]) == set()
        assert await store.referenced("", []) == set()
        await store.commit(Writes(gone=[one.ref]))
        assert await store.referenced("", ["a", "b", "c"]) == {"b"}


async def swept(store: Store, before: float) -> set[Ref]:
    look = await store.sweep(None, before, 100)
    assert look.next is None
    return set(look.over)


def _whole(*tasks: Task) -> Writes:
    """Tasks with everything that may be kept of one."""
    writes = new(*tasks)
    for each in tasks:
        ref = each.ref
        writes.steps.append(StepRow(*ref, "think", "#0", "d", '"v"', 1, 1, 5.0, 1, 1))
        writes.events.append(EventRow(*ref, 2, "progress", 5.0, 1, "", "{}", 1, 1))
        writes.signals.append(SignalRow(*ref, 0, "go", "1", 5.0))
        writes.references.add(Reference(each.tenant, "a", each.id))
        row = KeyRow(each.tenant, "/v1/tasks", "k", "digest", None, f'["{each.id}"]', each.id)
        writes.keys[row[:3]] = row
    return writes


async def _traces(store: Store, of: Task) -> Any:
    past = (await store.pasts([of.ref]))[of.ref]
    return (
        *await store.events(*of.ref, -1, 9),
        await store.steps(*of.ref),
        len(past.signals) + past.emitted,
        await store.key(of.tenant, "/v1/tasks", "k"),
        await store.referenced(of.tenant, ["a"]),
    )
