"""What an author may declare, and what is refused when it is declared."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents import Background, Realtime, Resources, Retry
from agents.policies import YEAR

INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("kind", "fields", "why"),
    [
        (Retry, {"base": -1}, "base"),
        (Retry, {"base": 2, "cap": 1}, "base"),
        (Retry, {"cap": INF}, "cap"),
        (Retry, {"base": NAN}, "base"),
        (Retry, {"jitter": -0.1}, "jitter"),
        (Retry, {"jitter": 1.1}, "jitter"),
        (Realtime, {"deadline": 0}, "deadline"),
        (Realtime, {"deadline": -1}, "deadline"),
        (Realtime, {"deadline": INF}, "deadline"),
        (Realtime, {"deadline": NAN}, "deadline"),
        (Realtime, {"min_replicas": 0}, "min_replicas"),
        (Realtime, {"min_replicas": 3, "max_replicas": 2}, "max_replicas"),
        (Background, {"slots": 0}, "slots"),
        (Background, {"slots": 1025}, "slots"),
        (Background, {"max_attempts": 0}, "max_attempts"),
        (Background, {"max_attempts": 101}, "max_attempts"),
        (Background, {"timeout": 0}, "timeout"),
        (Background, {"timeout": YEAR + 1}, "timeout"),
        (Background, {"timeout": NAN}, "timeout"),
        (Background, {"durability": "never"}, "sync, batched, exit"),
        (Background, {"upgrade": "stay"}, "upgrade must be one of move, finish"),
    ],
)
def test_a_policy_that_cannot_be_kept_is_refused_and_says_which_field(
    kind: Any, fields: dict[str, Any], why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        kind(**fields)


@pytest.mark.parametrize(
    "policy",
    [
        Resources(cpus=0.5, gpus=1, memory=2**30),
        Retry(base=0, cap=0, jitter=0),
        Realtime(deadline=0.001, min_replicas=2, max_replicas=2),
        Background(slots=1024, max_attempts=100, timeout=YEAR),
    ],
)
def test_a_policy_is_a_record_that_cannot_change(policy: Any) -> None:
    name, value = next(iter(asdict(policy).items()))

    with pytest.raises(FrozenInstanceError):
        setattr(policy, name, value)
    assert type(policy)(**{name: value}) is not policy


def test_defaults_fit_a_laptop() -> None:
    """A replica takes no logical CPU, or Ray would have no room for the worker beside it."""
    assert Realtime().resources == Resources(cpus=0, gpus=0, memory=0)
    assert Background().resources == Resources(cpus=1, gpus=0, memory=0)


def test_waits_double_up_to_the_cap() -> None:
    retry = Retry(base=1, cap=10, jitter=0)

    assert [retry.delay(attempt, 0.9) for attempt in range(1, 7)] == [1, 2, 4, 8, 10, 10]


def test_chance_adds_up_to_jitter() -> None:
    retry = Retry(base=4, cap=10, jitter=0.5)

    assert [retry.delay(1, roll) for roll in (0, 0.5)] == [4, 5]


@given(
    st.floats(0, YEAR), st.floats(0, YEAR), st.floats(0, 1), st.integers(1, 10**9), st.floats(0, 1, exclude_max=True)
)
def test_a_wait_is_never_negative_nor_longer_than_cap_and_jitter(
    one: float, two: float, jitter: float, attempt: int, roll: float
) -> None:
    retry = Retry(base=min(one, two), cap=max(one, two), jitter=jitter)

    assert 0 <= retry.delay(attempt, roll) <= retry.cap * (1 + jitter)
