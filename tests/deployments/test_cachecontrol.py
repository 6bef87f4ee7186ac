"""How old an answer may be, as a request's Cache-Control says it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.cachecontrol import oldest_taken


@pytest.mark.parametrize(
    ("headers", "age"),
    [
        ([], math.inf),
        (["no-cache"], 0.0),
        (["no-store"], 0.0),
        (["No-Cache, max-age=60"], 0.0),
        (["max-age=60"], 60.0),
        (['max-age="60"'], 60.0),
        (["max-age=0"], 0.0),
        (["max-age=60", "MAX-AGE=5"], 5.0),
        (["max-stale=60, only-if-cached"], math.inf),
        (["max-age", "max-age=", "max-age=-1", "max-age=1.5", "max-age=1e9", "max-age=12345678901"], math.inf),
        ([",,=,=5"], math.inf),
    ],
)
def test_the_header_says(headers: list[str], age: float) -> None:
    assert oldest_taken(headers) == age


@given(st.lists(st.text(max_size=200), max_size=3))
def test_no_header_is_too_strange(headers: list[str]) -> None:
    assert oldest_taken(headers) >= 0
