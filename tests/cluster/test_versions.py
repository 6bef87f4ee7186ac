"""A task that is to finish with the version that began it goes to workers of that version, until none is left."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from agents import Background, Context, Resources
from agents.catalog import Entry
from cluster import claims
from cluster.claims import Ending, Hello, Report, Verdict
from cluster.errors import Conflict
from cluster.kinds import kinds, versions_of
from cluster.lanes import Lane, line, lines_of, of_version, of_versions
from cluster.ledger import Ledger
from cluster.memory import MemoryStore
from cluster.sqlite import SqliteStore
from cluster.task import State, Task, extra_json
from cluster.worker import only_begun

from .callers import Caller, opened, running, settled, state
from .house import Script, agent, house
from .making import (
    AGENT,
    COMPLETED,
    ManualClock,
    called,
    hello,
    progress,
    promotion,
    report,
    step,
    submission,
    task,
    waiting,
)

V1, V2 = Lane(version="v1").text, Lane(version="v2").text
GPU = Resources(gpus=1)
RETRY = Verdict(Ending.RETRY, error='{"type":"x"}')
RELEASED = Verdict(Ending.RELEASED)


def of(version: str, id: str = "", slots: int = 8) -> Hello:
    """A worker of that version, which finishes what it began."""
    return Hello(id or version, "cpu1", {AGENT: slots}, {AGENT: lines_of(AGENT, version=version)}, {AGENT: version})


async def waits_for_go(ledger: Ledger, worker: Caller) -> Task:
    """A task that this worker began, and that waits for a signal."""
    await ledger.submit(submission(one := task()))
    claim = await worker.claim()
    await worker.report(report(claim, 1, step(), verdict=waiting(signals=("go",))))
    return one


async def gets_nothing(caller: Caller) -> bool:
    """Whether there is nothing for this worker."""
    pull = asyncio.create_task(caller.pull())
    await settled()
    idle = not pull.done()
    pull.cancel()
    return idle


@pytest.mark.parametrize(
    ("lane", "version", "text"),
    [
        ("", "", ""),
        ("", "v1", V1),
        (V1, "", ""),
        (V1, "v2", V2),
        (Lane("spot", GPU).text, "v1", Lane("spot", GPU, "v1").text),
        ('{"moon":1,"version":"v1"}', "", '{"moon":1}'),
    ],
)
def test_a_lane_has_a_version_or_none_and_stays_the_same_otherwise(lane: str, version: str, text: str) -> None:
    assert of_version(lane, version) == text


def test_a_worker_of_an_earlier_version_takes_nothing_but_what_it_began() -> None:
    mixed = Hello("w", "cpu1", {AGENT: 8, "other": 2}, {AGENT: lines_of(AGENT, version="v1")}, {AGENT: "v1"})

    old = only_begun(mixed)

    assert old.slots == {AGENT: 8}
    assert set(old.lines_of(AGENT)) == {line(AGENT, V1), line(AGENT, Lane("on_demand", version="v1").text)}
    assert of_versions(old.lines_of(AGENT)) == old.lines_of(AGENT)
    assert only_begun(mixed._replace(versions={})).slots == {}


def test_only_agents_that_say_so_finish_with_their_version() -> None:
    entries = [
        Entry(f"m:{name}", type(agent(name, _double, upgrade=way)), "v7")
        for name, way in (("stays", "finish"), ("moves", "move"))
    ]

    assert versions_of(entries) == {"stays": "v7"}
    assert [kind.versions for kind in kinds(entries, (1, 1))] == [{"stays": "v7"}]
    assert Background().upgrade == "move"


async def _double(ctx: Context, number: int) -> int:
    return 2 * number


async def test_what_a_version_began_goes_on_with_that_version_and_new_tasks_with_any(ledger: Ledger) -> None:
    old, new = Caller(ledger, of("v1")), Caller(ledger, of("v2"))
    begun = await waits_for_go(ledger, old)

    await ledger.signal("", begun.id, "go", "1")
    await ledger.submit(submission(fresh := task()))

    assert (await new.claim()).task.id == fresh.id
    assert await gets_nothing(new)
    assert (await old.claim()).task.id == begun.id


@pytest.mark.parametrize("verdict", [RETRY, RELEASED, waiting(signals=("go",))])
async def test_whichever_way_it_is_given_back_it_is_left_to_its_version(ledger: Ledger, verdict: Verdict) -> None:
    old = Caller(ledger, of("v1"))
    await ledger.submit(submission(one := task()))
    claim = await old.claim()

    await old.report(report(claim, 1, step(), verdict=verdict))

    assert (await state(ledger, one.id)).lane == V1


async def test_a_worker_that_is_lost_leaves_it_to_others_of_its_version(ledger: Ledger) -> None:
    await ledger.submit(submission(one := task()))
    worker = Caller(ledger, of("v1"))
    await worker.report(report(await worker.claim(), 1, step()))

    await ledger.worker_lost("v1", fault=False)

    assert await gets_nothing(Caller(ledger, of("v2")))
    assert (await Caller(ledger, of("v1", "other")).claim()).task.id == one.id


@pytest.mark.parametrize("fault", [False, True])
async def test_where_nothing_is_recorded_any_version_may_begin_it_anew(ledger: Ledger, fault: bool) -> None:
    await ledger.submit(submission(one := task()))
    await Caller(ledger, of("v1")).claim()

    await ledger.worker_lost("v1", fault=fault)

    claim = await Caller(ledger, of("v2")).claim()
    assert (claim.task.id, claim.task.lane) == (one.id, V2)


@pytest.mark.parametrize("entry", [step(), progress(), called("c1")])
async def test_whatever_is_recorded_is_a_beginning(ledger: Ledger, entry: claims.Entry) -> None:
    await ledger.submit(submission(one := task()))
    worker = Caller(ledger, of("v1"))
    await worker.report(report(await worker.claim(), 1, entry))

    await ledger.worker_lost("v1", fault=False)

    assert (await state(ledger, one.id)).lane == V1


async def test_an_agent_that_moves_is_in_no_lane(ledger: Ledger) -> None:
    worker = Caller(ledger, hello())
    begun = await waits_for_go(ledger, worker)

    await ledger.signal("", begun.id, "go", "1")

    assert (await Caller(ledger, of("v2")).claim()).task.id == begun.id


async def in_memory(_: Path) -> MemoryStore | SqliteStore:
    return await opened()


async def in_a_file(folder: Path) -> MemoryStore | SqliteStore:
    owner = SqliteStore(folder / "ledger.db").take(create=True)
    store = SqliteStore(folder / "ledger.db")
    await store.open(owner.store_id, owner.generation)
    return store


@pytest.mark.parametrize("made", [in_memory, in_a_file])
async def test_a_ledger_that_starts_again_knows_what_began_with_which_version(
    made: Callable[[Path], Awaitable[MemoryStore | SqliteStore]], tmp_path: Path, clock: ManualClock
) -> None:
    store = await made(tmp_path)
    async with running(store, clock) as first:
        old = Caller(first, of("v1"))
        begun = await waits_for_go(first, old)
        await first.submit(submission(held := task()))
        await old.report(report(await old.claim(), 1, step()))

    async with running(store, clock) as second:
        await second.signal("", begun.id, "go", "1")
        await second.worker_lost("v1", fault=False)
        assert await gets_nothing(Caller(second, of("v2")))
        other = Caller(second, of("v1", "other"))
        claims = await other.claims()
        await other.report(*(report(claim, 1, verdict=COMPLETED) for claim in claims))

    assert {claim.task.id for claim in claims} == {begun.id, held.id}
    assert await store.lanes() == []
    await store.close()


async def test_a_live_run_that_is_promoted_is_left_to_the_version_that_began_it(ledger: Ledger) -> None:
    replica = Hello("replica-1", "replica", {}, versions={AGENT: "v1"})
    promoted = await ledger.promote(replica, 1, promotion(step()))
    await ledger.report(replica, 2, (Report(*promoted.ref, promoted.fence, 2, (), RELEASED),))

    assert await gets_nothing(Caller(ledger, of("v2")))
    assert (await Caller(ledger, of("v1")).claim()).task.id == promoted.id


async def test_what_it_calls_has_a_version_of_its_own(ledger: Ledger) -> None:
    worker = Caller(ledger, of("v1"))
    await ledger.submit(submission(task(extra=extra_json(market="spot"), lane=Lane("spot").text)))
    there = Hello("s1", "cpu1", {AGENT: 8}, {AGENT: lines_of(AGENT, market="spot", version="v1")}, {AGENT: "v1"})
    spot = Caller(ledger, there)
    claim = await spot.claim()

    await spot.report(report(claim, 1, called("c1")))

    assert (await state(ledger, claim.task.id)).lane == Lane("spot", version="v1").text
    assert (await spot.claim()).task.id == "c1"
    assert await gets_nothing(worker)


async def test_a_retry_by_hand_and_a_fork_are_for_any_version(ledger: Ledger) -> None:
    worker = Caller(ledger, of("v1"))
    await ledger.submit(submission(one := task()))
    failed = Verdict(Ending.FAILED, error='{"type":"x","step":"draft#0"}')
    await worker.report(report(await worker.claim(), 1, step(), verdict=failed))

    retried = await ledger.retry("", one.id)
    forked = await ledger.fork("", one.id, "draft#0", new_id="f1", input=None, version="v2")

    assert retried is not None
    assert forked is not None
    assert (retried.lane, forked.lane) == ("", "")


async def test_where_no_worker_of_its_version_is_left_it_goes_on_with_any_and_its_events_say_why(
    ledger: Ledger,
) -> None:
    begun = await waits_for_go(ledger, Caller(ledger, of("v1")))
    await ledger.signal("", begun.id, "go", "1")

    assert await ledger.release(AGENT, V1, "none is left") == 1
    assert await ledger.release(AGENT, V1, "none is left") == 0

    claim = await Caller(ledger, of("v2")).claim()
    assert (claim.task.id, claim.task.lane, claim.task.attempts) == (begun.id, V2, 1)
    page = await ledger.events("", begun.id, -1, 0)
    assert page is not None
    assert [(event.seq, event.type) for event in page.events] == [
        *((0, "attempt.started"), (1, "step.completed"), (2, "waiting"), (3, "moved"))
    ]
    assert page.events[3].data == '{"from": "v1", "reason": "none is left"}'


async def test_only_what_is_queued_is_released_and_of_that_lane_only(ledger: Ledger, clock: ManualClock) -> None:
    old = Caller(ledger, of("v1"))
    waits = await waits_for_go(ledger, old)
    await ledger.submit(submission(held := task(), late := task()))
    first, second = await old.claims()
    await old.report(report(first, 1, step()))
    again = RETRY._replace(retry_at=clock.time + 60)
    await old.report(report(second, 1, step(), verdict=again))

    assert await ledger.release(AGENT, V1, "none is left") == 0
    assert await ledger.release(AGENT, V2, "none is left") == 0
    assert await ledger.release(AGENT, "", "none is left") == 0
    assert {(await state(ledger, one.id)).lane for one in (waits, held, late)} == {V1}
    clock.advance(61)
    await ledger.counts()
    assert await ledger.release(AGENT, V1, "none is left") == 1


async def test_many_are_released_over_several_ticks_and_none_is_lost(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.releasing.SOME", 7)
    tasks = [task(limit_key=f"k{number % 3}") for number in range(40)]
    await ledger.submit(submission(*tasks))
    old = Caller(ledger, of("v1", slots=40))
    await old.report(*(report(claim, 1, step()) for claim in await old.claims()))
    await ledger.worker_lost("v1", fault=True)  # so that they are to run alone, too

    assert await ledger.release(AGENT, V1, "none is left") == 40

    (alone,) = await Caller(ledger, of("v2", slots=40)).claims()
    demands = {each.lane: each.queued + each.running for each in await ledger.demand()}
    assert alone.task.isolated
    assert (demands[""], demands[V2], demands.get(V1, 0)) == (39, 1, 0)


async def test_what_a_version_takes_counts_for_its_agent(ledger: Ledger, clock: ManualClock) -> None:
    worker = Caller(ledger, of("v1"))
    await ledger.submit(submission(task(), task()))
    first, _ = await worker.claims()
    clock.advance(2)
    await worker.report(report(first, 1, verdict=COMPLETED))

    demands = {each.lane: each for each in await ledger.demand()}

    assert (demands[V1].running, demands[V1].service, demands[""].service) == (1, 2.0, 2.0)
    assert demands[""].claims == demands[V1].claims > 0


async def test_a_task_that_waits_for_its_version_says_so(ledger: Ledger, clock: ManualClock) -> None:
    begun = await waits_for_go(ledger, Caller(ledger, of("v1")))
    await ledger.signal("", begun.id, "go", "1")
    clock.advance(61)

    why = await ledger.why("", begun.id)

    assert why is not None
    assert (why.reason, why.worker) == ("no_worker", "version v1")


async def test_a_task_is_not_released_for_a_tenant_that_cancels_it(ledger: Ledger) -> None:
    begun = await waits_for_go(ledger, Caller(ledger, of("v1")))
    await ledger.signal("", begun.id, "go", "1")
    await ledger.cancel("", begun.id)

    assert await ledger.release(AGENT, V1, "none is left") == 0
    assert (await state(ledger, begun.id)).state == State.CANCELED
    with pytest.raises(Conflict):
        await ledger.signal("", begun.id, "go", "1")


async def test_a_real_worker_that_is_old_takes_only_what_it_began_and_all_again_when_it_is_not() -> None:
    async def asks(ctx: Context, number: int) -> int:
        first = await ctx.step("one", lambda: number)
        await ctx.signal("go")
        return first

    async with house() as home:
        worker = home.hire(agent("asker", asks, upgrade="finish"), version="v1")
        begun = await home.submit("asker", 7)
        await home.until(begun, "waiting")
        worker.serve(old=True)
        await home.ledger.counts()  # by then the ledger has heard of it
        fresh = await home.submit("asker", 8)
        await home.ledger.signal("", begun, "go", "1")

        assert (await home.ended(begun)).output == "7"
        assert (await home.task(fresh)).state == State.QUEUED
        worker.serve(old=False)
        await home.until(fresh, "waiting")


async def test_a_step_for_another_worker_goes_to_one_of_its_version_and_comes_back() -> None:
    ran: list[tuple[str, str]] = []

    def script(worker: str) -> Script:
        async def solve(ctx: Context, number: int) -> int:
            await ctx.step("read", lambda: ran.append(("read", worker)))
            await ctx.step("fit", lambda: ran.append(("fit", worker)), resources=GPU)
            await ctx.step("write", lambda: ran.append(("write", worker)))
            return number

        return solve

    async with house() as home:
        for version in ("v1", "v2"):
            for name, shape, shapes in (("cpu", Resources(cpus=1), (None,)), ("gpu", GPU, (GPU,))):
                id = f"{name}-{version}"
                solver = agent("solver", script(id), upgrade="finish")
                home.hire(solver, id=id, shape=shape, shapes=shapes, version=version, slots=1 if name == "cpu" else 8)
        done = [await home.ended(await home.submit("solver", number)) for number in range(4)]

    assert [one.state for one in done] == [State.COMPLETED] * 4
    by_version = [{worker[-2:] for _, worker in ran[start : start + 3]} for start in range(0, 12, 3)]
    assert all(len(versions) == 1 for versions in by_version), ran
