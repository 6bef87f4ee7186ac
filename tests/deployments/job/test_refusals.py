"""Which lines a refused batch was refused for."""

from __future__ import annotations

from typing import Any

import pytest

from deployments.job.errors import JobStopped, Refusal
from deployments.job.journal import Batch
from deployments.job.refusals import alone, concerns_lines, culprits
from deployments.job.sending import Sender
from deployments.problems import invalid_input, too_large

INVALID = {
    "type": "/problems/invalid-input",
    "title": "It does not fit",
    "detail": "2 of 9 do not fit; none was taken.",
}


def test_a_line_is_named_with_all_that_is_wrong_with_it() -> None:
    lines = ["inputs.2: text: Field required", "inputs.2: txt: Extra inputs are not permitted", "inputs.7: body: no"]

    found = culprits({**INVALID, "errors": lines}, 9)

    assert list(found) == [2, 7]
    assert found[2]["type"] == "invalid_input"
    assert found[2]["detail"] == "text: Field required; txt: Extra inputs are not permitted"


def test_one_that_is_too_large_is_named_in_the_detail() -> None:
    problem = too_large("inputs.3", 500)

    found = culprits({"type": problem.type, "title": problem.title, "detail": problem.detail}, 9)

    assert list(found) == [3]
    assert (found[3]["type"], found[3]["detail"]) == ("too_large", "may have at most 500 bytes.")


@pytest.mark.parametrize(
    "document", [INVALID, {**INVALID, "errors": ["inputs: too many"]}, {**INVALID, "errors": ["inputs.9: no"]}, {}]
)
def test_a_refusal_may_name_no_line(document: dict[str, Any]) -> None:
    assert culprits(document, 9) == {}


def test_of_a_line_alone_the_reason_is_what_was_said() -> None:
    assert alone({**INVALID, "errors": ["inputs.0: text: Field required"]})["detail"] == "text: Field required"
    assert alone({"type": "/problems/too-large", "title": "t", "detail": "The body may have 9."})["type"] == "too_large"


def test_only_problems_of_an_input_are_taken_for_those_of_a_line() -> None:
    assert concerns_lines({"type": invalid_input("", ()).type})
    assert not concerns_lines({"type": "/problems/invalid-request"})
    assert not concerns_lines({"type": "/problems/forbidden"})


class Picky:
    """Takes up to `room` inputs at once, and none that holds `bad`; it never says which."""

    def __init__(self, room: int = 100, type: str = "/problems/too-large") -> None:
        self.room = room
        self.type = type
        self.keys: list[str] = []

    async def submit(self, key: str, body: bytes) -> str:
        if body.count(b'"x') > self.room or b"bad" in body:
            raise Refusal({"type": self.type, "title": "No", "detail": "The body may have less."})
        self.keys.append(key)
        return key


def items(*texts: str) -> list[tuple[int, bytes]]:
    return [(place + 1, f'"{text}"'.encode()) for place, text in enumerate(texts)]


async def test_a_batch_that_is_too_much_at_once_goes_in_halves() -> None:
    pool, accepted = Picky(room=2), list[Batch]()

    batches, bad = await Sender(pool, "j", "shop", {}, accepted.append).send(items(*["x"] * 5))

    assert [batch.lines for batch in batches] == [(1, 2), (3,), (4, 5)]
    assert pool.keys == ["job-j-1-2", "job-j-3-3", "job-j-4-5"]
    assert (accepted, bad) == (batches, [])


async def test_a_line_that_nobody_names_is_found_and_the_others_are_accepted() -> None:
    sender = Sender(Picky(type="/problems/internal"), "j", "shop", {}, lambda batch: None)

    batches, bad = await sender.send(items("x", "x", "xbad", "x"))

    assert [line for batch in batches for line in batch.lines] == [1, 2, 4]
    assert [(wrong.line, wrong.error["type"]) for wrong in bad] == [(3, "internal")]


@pytest.mark.parametrize(
    ("type", "said"), [("/problems/forbidden", "No"), ("/problems/conflict", "lines 1 to 2 were accepted before")]
)
async def test_a_refusal_that_no_line_is_the_cause_of_ends_the_job(type: str, said: str) -> None:
    with pytest.raises(JobStopped, match=said):
        await Sender(Picky(room=0, type=type), "j", "shop", {}, lambda batch: None).send(items("x", "x"))
