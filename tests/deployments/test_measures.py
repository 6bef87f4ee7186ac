"""That what callers get, and why they do not, is counted."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from deployments.measures import why

from .clerks import Clerk, Make, Quick, answer, answer_of, call, settled
from .ledgers import running_ledger

pytestmark = pytest.mark.slow

ASYNC = {"Prefer": "respond-async, wait=0.2"}
LIVE = {"Accept": "text/event-stream"}


class Kept:
    """Counts, in the test's own hand."""

    def __init__(self) -> None:
        self.counted: Counter[str] = Counter()
        self.seconds: list[float] = []
        self.loads: list[tuple[int, int]] = []

    def answered(self, answer: str, seconds: float) -> None:
        self.counted[answer] += 1
        self.seconds.append(seconds)

    def failed(self, kind: str) -> None:
        self.counted[kind] += 1

    def first_event(self, seconds: float) -> None:
        self.counted["first event"] += 1

    def joined(self) -> None:
        self.counted["joined"] += 1

    def promoted(self, why: str) -> None:
        self.counted[f"promoted {why}"] += 1

    def load(self, running: int, waiting: int) -> None:
        self.loads.append((running, waiting))


async def test_each_kind_of_answer_is_counted_with_its_time(make: Make) -> None:
    kept = Kept()
    app = make(Quick, measures=kept, cache_ttl=60, deadline=0.3)

    await answer(app, "simple")
    Clerk.gate.set()
    await answer(app, "full")
    await answer(app, "full")
    await answer(app, "live", headers=LIVE)

    assert kept.counted == {"simple": 1, "full": 2, "cached": 1, "first event": 1}
    assert 0.15 < max(kept.seconds) < 5


async def test_those_who_get_none_are_counted_by_the_reason(make: Make) -> None:
    kept = Kept()
    app = make(measures=kept, slots=1, queue=0)
    busy = call(app, "wrong")
    await settled()
    await answer(app, "refused")
    Clerk.gate.set()
    await answer_of(busy)
    Clerk.gate.clear()
    await answer(app, "late", headers={"Prefer": "wait=0"})
    await answer(app, "unsure", headers=ASYNC)

    assert kept.counted == {"busy": 1, "error": 1, "late": 1, "promoted late": 1, "unconfirmed": 1}


async def test_shared_runs_and_promotions_are_counted_once(make: Make) -> None:
    kept = Kept()
    async with running_ledger() as ledger:
        app = make(ledger=ledger, measures=kept, cache_ttl=60)
        calls = [call(app, headers=ASYNC) for _ in range(3)]
        await asyncio.gather(*(answer_of(each) for each in calls))

    assert kept.counted == {"joined": 2, "promoted late": 1, "task": 3}


async def test_the_load_is_told_now_and_then(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.live.WATCH_SECONDS", 0.01)
    kept = Kept()
    app = make(measures=kept, slots=1, queue=4)
    calls = [call(app, text) for text in "abc"]

    async with asyncio.timeout(5):
        while (1, 2) not in kept.loads:
            await asyncio.sleep(0.005)
    for each in calls:
        each.leave()


@pytest.mark.parametrize(
    ("reason", "label"),
    [
        ("late", "late"),
        ("drain", "drain"),
        ("busy", "busy"),
        ("its caller leaves", "caller"),
        ("waits for signal approved", "wait"),
        ("worth a wider search", "agent"),
        ("", "agent"),
    ],
)
def test_a_reason_has_one_of_few_labels(reason: str, label: str) -> None:
    assert why(reason) == label
