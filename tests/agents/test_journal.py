"""The journal: what is recorded, and the first record of a step stays."""

from __future__ import annotations

import pytest

from agents.errors import StepError, StepMismatch
from agents.journal import Cursor, Journal, StepId, StepRecord

DRAFT = StepId("draft", "#0")


def test_the_first_record_of_a_step_stays() -> None:
    journal = Journal([StepRecord(DRAFT, "a", "1")])

    journal.add(StepRecord(DRAFT, "a", "2"))

    assert [record.value for record in journal] == ["1"]
    assert len(journal) == 1


def test_a_step_is_found_by_its_id_and_its_arguments() -> None:
    record = StepRecord(DRAFT, "a", "1")
    journal = Journal([record])

    assert journal.find(DRAFT, "a") is record
    assert journal.find(StepId("draft", "#1"), "a") is None
    assert journal.find(StepId("draft", ":0"), "a") is None
    with pytest.raises(StepMismatch, match=r"draft#0.*other arguments.*new name"):
        journal.find(DRAFT, "b")


def test_a_step_is_told_by_name_and_number_or_key() -> None:
    cursor = Cursor()

    seen = []
    for name, key in (("a", None), ("a", None), ("b", None), ("a", "k"), ("a", None)):
        with cursor.enter(name, key) as step:
            seen.append(str(step))

    assert seen == ["a#0", "a#1", "b#0", "a:k", "a#2"]


def test_a_keyed_step_and_a_numbered_one_of_its_name_may_run_at_once() -> None:
    cursor = Cursor()

    with cursor.enter("a", None) as numbered, cursor.enter("a", "k") as keyed, cursor.enter("a", "l") as other:
        assert len({numbered, keyed, other}) == 3


def test_a_step_that_raised_leaves_its_name_free() -> None:
    cursor = Cursor()
    with pytest.raises(OSError, match="x"), cursor.enter("a", None):
        raise OSError("x")

    with cursor.enter("a", None) as step:
        assert str(step) == "a#1"


def test_a_name_that_was_refused_takes_no_number() -> None:
    cursor = Cursor()
    with pytest.raises(StepError), cursor.enter("a", ""):
        pass

    with cursor.enter("a", None) as step:
        assert str(step) == "a#0"
