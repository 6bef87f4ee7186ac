"""What a limit key may use."""

from __future__ import annotations

import math

import pytest

from cluster.limits import Hold, Rule, hold, spent


@pytest.mark.parametrize(
    ("rule", "running", "held"),
    [
        (Rule("", "k"), 1000, None),
        (Rule("", "k", concurrency=2), 1, None),
        (Rule("", "k", concurrency=2), 2, Hold("concurrency")),
        (Rule("", "k", concurrency=0), 0, Hold("concurrency")),
        (Rule("", "k", paused_until=100.5), 0, Hold("paused", 100.5)),
        (Rule("", "k", paused_until=100.0), 0, None),
        (Rule("", "k", paused_until=math.inf), 0, Hold("paused", math.inf)),
        (Rule("", "k", rate_count=0, rate_seconds=1.0), 0, Hold("rate")),
        (Rule("", "k", rate_count=1, rate_seconds=10.0, arrival=105.0), 0, Hold("rate", 105.0)),
        (Rule("", "k", rate_count=1, rate_seconds=10.0, arrival=100.0), 0, None),
    ],
)
def test_what_holds_a_key_at_100(rule: Rule, running: int, held: Hold | None) -> None:
    assert hold(rule, running, 100.0) == held


def test_a_rate_lets_its_count_start_at_once_and_then_one_by_one() -> None:
    rule, starts, now = Rule("", "k", rate_count=5, rate_seconds=10.0), [], 0.0
    while now < 60:
        if hold(rule, 0, now) is None:
            rule = spent(rule, now)
            starts.append(now)
        else:
            now += 0.5

    assert starts[:5] == [0.0] * 5
    assert starts[5:8] == [2.0, 4.0, 6.0]
    assert len(starts) == 5 + 29


def test_a_rate_that_was_not_used_saves_no_more_than_its_count() -> None:
    rule = Rule("", "k", rate_count=5, rate_seconds=10.0)
    for _ in range(5):
        rule = spent(rule, 0.0)

    started = 0
    while hold(rule, 0, 1000.0) is None:
        rule = spent(rule, 1000.0)
        started += 1
    assert started == 5


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_rate_that_is_further_ahead_than_its_starts_explain_goes_on_at_its_pace(count: int) -> None:
    """As after the clock was set back, or where a slower rule was replaced."""
    rule, starts = Rule("", "k", rate_count=count, rate_seconds=10.0, arrival=3700.0), []
    for now in range(100, 161):
        while hold(rule, 0, now) is None:
            rule = spent(rule, now)
            starts.append(now)

    assert starts[0] == 100
    assert len(starts) in (6 * count + 1, 6 * count + 2)


def test_a_hold_by_rate_ends_when_it_says() -> None:
    rule = Rule("", "k", rate_count=3, rate_seconds=3.0)
    while (held := hold(rule, 0, 50.0)) is None:
        rule = spent(rule, 50.0)

    assert hold(rule, 0, held.until - 0.001) is not None
    assert hold(rule, 0, held.until) is None
