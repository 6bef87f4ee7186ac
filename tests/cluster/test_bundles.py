"""Records that travel in a bundle come out as they went in."""

from __future__ import annotations

import pickle

import pytest

from agents.events import Emitted
from agents.journal import StepId, StepRecord
from cluster import bundles
from cluster.bundles import Claims, Reports, Tasks
from cluster.claims import Claim, Ending, Report, SignalSent, StepDone, Verdict
from cluster.task import Origin

from .making import called, step, task

TASKS = (task(), task(output='"ü"', worker="w", deadline=5.0, extra='{"market":"spot"}'))
CLAIMS = (
    Claim(TASKS[0]),
    Claim(TASKS[1], 7.0, (step().record,), 3, ("a#0",), (SignalSent(0, "go", "1"),)),
)
REPORTS = (
    Report("", "t", 1, 1),
    Report(
        *("acme", "t", 2, 9),
        (step(), Emitted("progress", "", 1.0, "{}"), StepDone(step("b").record, 2.0, 4), called("child")),
        Verdict(Ending.WAITING, waiting_on="{}", ran=1.5, heard=2, ends=(("g", 1),)),
    ),
)


@pytest.mark.parametrize("bundle", [Tasks(TASKS), Claims(CLAIMS), Reports(REPORTS), Tasks(), Claims(), Reports()])
def test_it_comes_out_as_it_went_in(bundle: Tasks | Claims | Reports) -> None:
    found = pickle.loads(pickle.dumps(bundle, pickle.HIGHEST_PROTOCOL))

    assert found == bundle
    assert repr(found) == repr(bundle)  # a NamedTuple equals any tuple of its values


def test_records_of_origin_stay_what_they_are() -> None:
    (found,) = pickle.loads(pickle.dumps(Reports([Report("", "t", 1, 1, (called("child"),))])))

    assert isinstance(found.entries[0].origin, Origin)


def test_a_record_of_an_older_version_has_defaults_for_what_it_lacks() -> None:
    (found,) = bundles._tasks([tuple(TASKS[0])[:-1]])
    (claim,) = bundles._claims([(tuple(TASKS[0]), 7.0)])
    (done,) = bundles._reports([("", "t", 1, 1, (("a", "#0", "d", "1", 5.0),), (Ending.COMPLETED, "1"))])

    assert found == TASKS[0]
    assert claim == Claim(TASKS[0], 7.0)
    assert done == Report(
        *("", "t", 1, 1, (StepDone(StepRecord(StepId("a", "#0"), "d", "1"), 5.0),), Verdict(Ending.COMPLETED, "1"))
    )


def test_a_record_of_a_newer_version_is_read_as_far_as_it_is_known() -> None:
    (found,) = bundles._tasks([(*TASKS[0], "new")])
    (claim,) = bundles._claims([((*TASKS[0], "new"), *CLAIMS[0][1:], "new")])
    step = ("a", "#0", "d", "1", 5.0, None, "new")
    (done,) = bundles._reports([("", "t", 1, 1, (step,), (*Verdict(Ending.COMPLETED), "new"), "new")])

    assert (found, claim) == (TASKS[0], CLAIMS[0])
    assert done.entries == (StepDone(StepRecord(StepId("a", "#0"), "d", "1"), 5.0),)
    assert done.verdict == Verdict(Ending.COMPLETED)
