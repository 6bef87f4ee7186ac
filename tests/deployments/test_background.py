"""That whoever starts the background waits for a ledger that reads its store still."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.errors import Conflict, Unavailable
from cluster.remote import Remote
from deployments import background


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the ledger will say, one after the other; an exception is raised."""
    found: list[Any] = []

    def call(remote: Remote, method: str, *arguments: Any, seconds: float) -> Any:
        answer = found.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return method, arguments, answer

    monkeypatch.setattr(Remote, "call_blocking", call)
    monkeypatch.setattr(background, "POLL", 0.001)
    return found


def test_a_ledger_that_is_starting_is_asked_again(answers: list[Any]) -> None:
    answers += [Unavailable("the ledger is starting"), Unavailable("the ledger is starting"), 7]

    assert background.ask_ledger("keys_since", "") == ("keys_since", ("",), 7)


def test_what_it_refuses_is_raised_at_once(answers: list[Any]) -> None:
    answers += [Conflict("there is such a key"), 7]

    with pytest.raises(Conflict):
        background.ask_ledger("add_key", 1)
    assert answers == [7]


def test_one_that_never_answers_is_not_waited_for_for_ever(answers: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "LEDGER_SECONDS", 0.0)
    answers += [Unavailable("the store does not answer")] * 3

    with pytest.raises(Unavailable):
        background.ask_ledger("keys_since", "")
