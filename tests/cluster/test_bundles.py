"""Records that travel in a bundle come out as they went in."""

from __future__ import annotations

import pickle

import pytest

from agents.events import Emitted
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
