"""What a Prefer header says, and that what does not parse says nothing."""

from __future__ import annotations

import math
import time

import pytest

from deployments.prefer import NONE, Preference, applied, before_serve, preference


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ([], NONE),
        (["respond-async"], Preference(True)),
        (["Respond-Async , WAIT=10"], Preference(True, 10)),
        (["respond-async", "wait=10"], Preference(True, 10)),
        (["wait = 7 ; note=x"], Preference(False, 7)),
        (['wait="5"'], Preference(False, 5)),
        (["wait=0"], Preference(False, 0)),
        (["wait=301"], Preference(False, 300)),
        (["wait=1, wait=2"], Preference(False, 1)),
        (["return=minimal, , wait=3"], Preference(False, 3)),
        (['note="a, wait=9; \\" respond-async", wait=4'], Preference(False, 4)),
        (["respond-async=no"], NONE),
        (["wait"], NONE),
        (["wait=-1"], NONE),
        (["wait=1.5"], Preference(False, 1.5)),
        (["wait=.5", "wait=1.", "wait=1.5.5", "wait=1e3"], NONE),
        (["wait=soon"], NONE),
        (["wait=٣"], NONE),
        (["wait=99999999999999999999"], NONE),
        (["=;,;="], NONE),
        (['"wait=3'], NONE),
    ],
)
def test_a_header_says(headers: list[str], said: Preference) -> None:
    assert preference(headers) == said


@pytest.mark.parametrize(
    "header", ['"' * 60_000, "a;" * 30_000, 'a="' * 20_000, "a=" + " " * 60_000 + "=", '"\\' * 30_000, "a; ;" * 15_000]
)
def test_a_hostile_header_takes_no_time(header: str) -> None:
    started = time.perf_counter()

    preference([header])

    assert time.perf_counter() - started < 0.5


def test_what_was_honoured_is_said() -> None:
    assert applied() == ()
    assert applied(wait=2.0) == (("Preference-Applied", "wait=2"),)
    assert applied(respond_async=True, wait=300.0) == (("Preference-Applied", "respond-async, wait=300"),)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [([], math.inf), (["5"], 4.9), (["0.1"], 0.05), (["0"], math.inf), (["-1"], math.inf), (["soon"], math.inf)],
)
def test_serves_own_timeout_leaves_time_for_an_answer_of_ours(headers: list[str], seconds: float) -> None:
    assert before_serve(headers) == pytest.approx(seconds)
