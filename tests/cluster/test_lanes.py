"""A task in a lane goes to workers of that lane only, and shares everything else with its agent's other tasks."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from agents import Resources
from cluster.claims import Ending, Hello, Verdict
from cluster.lanes import Lane, line, lines_of, said, words
from cluster.ledger import Ledger
from cluster.limits import Rule
from cluster.task import State, Task, extra_json

from .callers import Caller, settled, state
from .making import AGENT, COMPLETED, hello, report, submission, task

GPU = Lane(shape=Resources(gpus=1)).text
SPOT = Lane("spot").text


def on(id: str = "w1", *lanes: str, slots: int = 8, kind: str = "cpu1") -> Hello:
    """A worker that serves these lanes."""
    return Hello(id, kind, {AGENT: slots}, {AGENT: tuple(line(AGENT, lane) for lane in lanes)})


def spot(**changes: Any) -> Task:
    return task(lane=SPOT, extra=extra_json(market="spot"), **changes)


@pytest.mark.parametrize(
    ("lane", "text", "said"),
    [
        (Lane(), "", "any worker"),
        (Lane(shape=Resources()), "", "any worker"),
        (Lane("spot"), '{"market":"spot"}', "a spot node"),
        (Lane(shape=Resources(gpus=1)), '{"shape":{"gpus":1}}', "gpus=1"),
        (Lane(shape=Resources(gpus=1.0)), '{"shape":{"gpus":1}}', "gpus=1"),
        (
            Lane("on_demand", Resources(gpus=0.5, memory=2**30, labels={"zone": "a"}), "v2"),
            '{"market":"on_demand","shape":{"gpus":0.5,"labels":{"zone":"a"},"memory":1073741824},"version":"v2"}',
            "gpus=0.5, memory=1073741824, zone=a, an on-demand node, version v2",
        ),
    ],
)
def test_equal_lanes_have_one_text_which_reads_back(lane: Lane, text: str, said: str) -> None:
    assert lane.text == text
    assert Lane.parse(text).text == text
    assert words(text) == said


def test_a_lane_of_a_newer_rubato_is_read_as_far_as_it_is_known() -> None:
    assert Lane.parse('{"moon":1,"shape":{"gpus":1,"qubits":8}}') == Lane(shape=Resources(gpus=1))
    assert said(Resources(gpus=2.0, market="spot")) == {"gpus": 2}


def test_a_worker_serves_its_shapes_on_its_market_and_of_its_version() -> None:
    gpu = Resources(gpus=1)

    assert lines_of("echo") == ("echo", 'echo@{"market":"on_demand"}')
    assert lines_of("echo", [gpu], "spot") == (line("echo", GPU), line("echo", Lane("spot", gpu).text))
    assert set(lines_of("echo", version="v2")) == {
        *lines_of("echo"),
        line("echo", Lane(version="v2").text),
        line("echo", Lane("on_demand", version="v2").text),
    }


async def test_a_task_in_a_lane_goes_to_workers_of_that_lane_only(ledger: Ledger) -> None:
    anywhere, there = task(), spot()
    await ledger.submit(submission(anywhere, there))

    plain = await Caller(ledger, hello("w1")).claims()
    other = asyncio.create_task(Caller(ledger, hello("w2")).pull())
    await settled()

    assert [claim.task.id for claim in plain] == [anywhere.id]
    assert not other.done()
    assert (await Caller(ledger, on("w3", "", SPOT)).claim()).task.id == there.id
    other.cancel()


async def test_a_lane_nobody_serves_keeps_its_tasks_and_says_why(ledger: Ledger) -> None:
    asked = asyncio.create_task(Caller(ledger, hello()).pull())
    there = spot()
    await ledger.submit(submission(there))
    await settled()

    why = await ledger.why("", there.id)

    assert why is not None
    assert (why.reason, why.worker, why.place) == ("no_worker", "a spot node", 1)
    assert (await state(ledger, there.id)).state == State.QUEUED
    serving = asyncio.create_task(Caller(ledger, on("w2", SPOT, slots=0)).pull())
    await settled()
    found = await ledger.why("", there.id)
    assert found is not None
    assert found.reason == "queue"
    for pull in (asked, serving):
        pull.cancel()


async def test_the_lines_of_an_agent_share_its_slots_and_take_turns(ledger: Ledger) -> None:
    await ledger.submit(submission(*[task() for _ in range(20)], *[spot() for _ in range(20)]))
    worker = Caller(ledger, on("w1", "", SPOT, slots=1))
    lanes = []

    for _ in range(20):
        claim = await worker.claim()
        lanes.append(claim.task.lane)
        await worker.report(report(claim, 1, verdict=COMPLETED))

    assert Counter(lanes) == {"": 10, SPOT: 10}
    claims = await Caller(ledger, on("w2", "", SPOT, slots=6)).claims()
    assert Counter(claim.task.lane for claim in claims) == {"": 3, SPOT: 3}


async def test_a_line_with_more_keys_gets_more_turns(ledger: Ledger) -> None:
    plain = [task(limit_key=f"k{n % 3}") for n in range(30)]
    await ledger.submit(submission(*plain, *[spot() for _ in range(30)]))
    worker, keys = Caller(ledger, on("w1", "", SPOT, slots=1)), []

    for _ in range(16):
        claim = await worker.claim()
        keys.append((claim.task.limit_key, claim.task.lane))
        await worker.report(report(claim, 1, verdict=COMPLETED))

    assert sorted(Counter(keys).values()) == [4, 4, 4, 4]


async def test_a_line_that_others_emptied_gets_no_more_than_a_round_of_credit(ledger: Ledger) -> None:
    await ledger.submit(submission(*[task() for _ in range(60)]))
    busy = Caller(ledger, on("w1", "", SPOT, slots=1))
    for _ in range(20):
        await busy.report(report(await busy.claim(), 1, verdict=COMPLETED))
    await ledger.submit(submission(*[spot() for _ in range(20)]))
    lanes = []

    for _ in range(8):
        claim = await busy.claim()
        lanes.append(claim.task.lane)
        await busy.report(report(claim, 1, verdict=COMPLETED))

    assert Counter(lanes)[""] >= 3


async def test_limits_hold_over_all_lines_of_an_agent(ledger: Ledger) -> None:
    await ledger.set_rule(Rule("", "k", concurrency=1))
    await ledger.submit(submission(task(limit_key="k"), spot(limit_key="k")))
    worker = Caller(ledger, on("w1", "", SPOT))

    first = await worker.claim()
    waiting = asyncio.create_task(worker.pull())
    await settled()
    assert not waiting.done()
    waiting.cancel()
    await worker.report(report(first, 1, verdict=COMPLETED))

    assert {first.task.lane, (await worker.claim()).task.lane} == {"", SPOT}


async def test_a_suspect_runs_alone_on_a_worker_of_its_lane(ledger: Ledger) -> None:
    await ledger.submit(submission(spot(), spot()))
    await Caller(ledger, on("dead", SPOT)).claims()
    await ledger.worker_lost("dead", fault=True)
    await ledger.submit(submission(task()))

    (plain,) = await Caller(ledger, hello("w1")).claims()
    alone = Caller(ledger, on("w2", "", SPOT))
    (claim,) = await alone.claims()

    assert not plain.task.isolated
    assert claim.task.isolated
    assert claim.task.lane == SPOT
    await alone.report(report(claim, 1, verdict=COMPLETED))
    assert (await alone.claim()).task.isolated


async def test_a_run_that_moves_is_queued_in_that_lane_before_what_is_new_and_counts_no_attempt(ledger: Ledger) -> None:
    worker = Caller(ledger, hello())
    moving = task()
    await ledger.submit(submission(moving))
    claim = await worker.claim()
    await ledger.submit(submission(task(lane=GPU)))

    await worker.report(report(claim, 1, verdict=Verdict(Ending.MOVED, lane=GPU, ran=2.0)))
    queued = await state(ledger, moving.id)
    first, _ = await Caller(ledger, on("g1", GPU)).claims()

    assert (queued.state, queued.lane, queued.ran, queued.worker) == ("queued", GPU, 2.0, None)
    assert (first.task.id, first.task.attempts, first.task.fence) == (moving.id, 1, 2)
    page = await ledger.events("", moving.id, -1, 0)
    assert page is not None
    assert [(event.type, event.data) for event in page.events] == [
        ("attempt.started", "{}"),
        ("waiting", '{"worker": "gpus=1"}'),
    ]


async def test_a_cancel_wins_over_a_move(ledger: Ledger) -> None:
    worker = Caller(ledger, hello())
    await ledger.submit(submission())
    claim = await worker.claim()
    await ledger.cancel("", claim.task.id)

    await worker.report(report(claim, 1, verdict=Verdict(Ending.MOVED, lane=GPU)))

    assert (await state(ledger, claim.task.id)).state == State.CANCELED


async def test_a_run_that_waits_comes_home_and_one_whose_worker_is_lost_stays(ledger: Ledger) -> None:
    await ledger.submit(submission(task(lane=GPU), task(lane=GPU)))
    worker = Caller(ledger, on("g1", GPU))
    waits, stays = await worker.claims()

    await worker.report(report(waits, 1, verdict=Verdict(Ending.WAITING, waiting_on='{"signals": ["go"]}')))
    assert (await state(ledger, waits.task.id)).lane == ""
    await ledger.signal("", waits.task.id, "go", "1")
    await ledger.worker_lost("g1", fault=False)

    assert (await state(ledger, waits.task.id)).state == State.QUEUED
    assert (await state(ledger, waits.task.id)).lane == ""
    assert (await state(ledger, stays.task.id)).lane == GPU


async def test_a_retry_and_a_fork_begin_at_home(ledger: Ledger) -> None:
    market = extra_json(market="spot")
    both = Lane("spot", Resources(gpus=1)).text
    await ledger.submit(submission(task(lane=both, extra=market)))
    worker = Caller(ledger, on("g1", both))
    claim = await worker.claim()
    await worker.report(report(claim, 1, verdict=Verdict(Ending.FAILED, error='{"type":"x","step":"draft#0"}')))

    retried = await ledger.retry("", claim.task.id)
    forked = await ledger.fork("", claim.task.id, "draft#0", new_id="f1", input=None, version="v2")

    assert retried is not None
    assert forked is not None
    assert (retried.lane, forked.lane, forked.market) == (SPOT, SPOT, "spot")
