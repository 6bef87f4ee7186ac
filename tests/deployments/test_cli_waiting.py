"""That a person is told why a task does not run."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from cluster import waits
from cluster.client import Why
from cluster.waits import Waits
from deployments.cli.show import show_event
from deployments.cli.waiting import sentence
from deployments.documents import task_json, waits_json
from tests.cluster.making import task

LATER = datetime(2090, 1, 31, 8, tzinfo=UTC).timestamp()
THEN = f"{datetime.fromtimestamp(LATER).astimezone():%Y-%m-%d %H:%M:%S}"


def shown(why: Why) -> Any:
    """As the gateway shows it."""
    return json.loads(task_json(task(), why))["waiting_on"]


@pytest.mark.parametrize(
    ("why", "says"),
    [
        (Why("run_at", until=LATER), f"starts at {THEN}"),
        (Why("paused", "agent:parrot", 1), "agent parrot is paused"),
        (Why("paused", "acme", 1, until=LATER), f"limit key acme is paused until {THEN}"),
        (Why("rate", "acme", 1, LATER), f"limit key acme has started as many as it may; the next may at {THEN}"),
        (Why("rate", "acme", 1), "limit key acme has started as many as it may"),
        (Why("concurrency", "agent:parrot", 1), "agent parrot has as many running as it may"),
        (Why("no_worker", "acme", 1), "no worker has asked for tasks of its agent lately"),
        (
            Why("no_worker", "acme", 1, worker="gpus=1"),
            "no worker that it may go to (gpus=1) has asked for tasks of its agent lately",
        ),
        (Why("queue", "acme", 3), "number 3 in limit key acme"),
        (Why("queue", "acme", 3, estimate=0.2), "number 3 in limit key acme, about 1 s from its turn"),
        (Why("queue", "acme", 10_001, estimate=75.0), "more than 10000 come before it in limit key acme, about 75 s"),
    ],
)
def test_a_queued_task(why: Why, says: str) -> None:
    assert sentence(shown(why)).startswith(says)


@pytest.mark.parametrize(
    ("what", "says"),
    [
        (Waits(LATER), f"waits until {THEN}"),
        (Waits(None, ("approve",)), "waits for the signal approve"),
        (Waits(None, (), (("call#0", 1),)), "waits for 1 child to end"),
        (
            Waits(LATER, ("yes", "no"), (("a", 2), ("b", 1))),
            f"waits until {THEN}, or for the signal yes, or for the signal no, or for 3 children to end",
        ),
    ],
)
def test_a_waiting_task(what: Waits, says: str) -> None:
    assert sentence(json.loads(waits_json(waits.write(what)))) == says


def test_today_needs_no_date() -> None:
    now = datetime.now().astimezone()

    assert sentence(shown(Why("run_at", until=now.timestamp()))) == f"starts at {now:%H:%M:%S}"


def test_an_event_of_waiting_is_told_so(capsys: pytest.CaptureFixture[str]) -> None:
    show_event({"type": "waiting", "data": json.loads(waits_json(waits.write(Waits(None, ("approve",)))))})

    assert capsys.readouterr().err.endswith("waits for the signal approve\n")


def test_a_task_that_goes_on_with_another_version_is_told_so(capsys: pytest.CaptureFixture[str]) -> None:
    show_event({"type": "moved", "data": {"from": "v1", "reason": "no worker of version v1 is left"}})

    told = "goes on with another version than v1: no worker of version v1 is left\n"
    assert capsys.readouterr().err.endswith(told)
