"""The agent as its callers meet it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from agents import Mode
from agents.library.support import Answer, NothingToRead, Question, Support
from agents.testing import Crash, Host

HANDBOOK = Path(__file__).parent / "handbook"
DOCS = Path(__file__).parents[4] / "docs"


class Handbook(Support):
    """Support for the customers of a bicycle rental, set up once for all these tests."""

    name = "handbook"
    folders = (HANDBOOK,)
    cache = None

    def setup(self) -> None:
        if not hasattr(self, "index"):
            super().setup()


@pytest.fixture(scope="module")
def agent() -> Handbook:
    return Handbook()


@pytest.fixture
def host(agent: Handbook) -> Host[Question, Answer]:
    return Host(agent)


def events(host: Host[Question, Answer], kind: str) -> list[Any]:
    return [json.loads(event.data) for event in host.events if event.type == kind]


ANSWERED = [
    ("How much does an electric bike cost for a week?", "160 EUR"),
    ("Can I cancel my booking?", "24 hours"),
    ("What happens if I do not show up?", "whole price is due"),
    ("When do I get my refund?", "five working days"),
    ("How old must I be to rent a cargo bike?", "18 years old"),
    ("How do I book?", "website"),
    ("What do I have to bring with me?", "photo ID"),
    ("Whom do I call when I have a puncture?", "0800 1234"),
    ("What do I owe if my bike is stolen?", "50 EUR"),
    ("When is the station at the harbour open?", "8 to 20"),
    ("How far does a full battery last?", "70 kilometres"),
    ("May I charge a frozen battery?", "freezing"),
    ("How do I cancel with velo?", "velo cancel 123456"),
]
REFUSED = [
    "What is the capital of France?",
    "How long should I boil an egg?",
    "Who won the world cup in 1998?",
    "How do I reverse a list in Python?",
    "What is the meaning of life?",
    "Which vitamins are in spinach?",
    "How do I prune an apple tree?",
    "blah blah blah",
    "???",
]


@pytest.mark.parametrize(("question", "says"), ANSWERED)
async def test_a_question_is_answered_in_the_documents_words(
    host: Host[Question, Answer], question: str, says: str
) -> None:
    answer = await host.run(Question(text=question))

    assert answer.answered
    assert says in answer.text
    assert answer.confidence >= 0.5
    for quote in answer.quotes:
        assert quote.text in answer.text
        assert quote.text in answer.sources[quote.source].sentences


@pytest.mark.parametrize("question", REFUSED)
async def test_what_the_documents_do_not_say_is_not_answered(host: Host[Question, Answer], question: str) -> None:
    answer = await host.run(Question(text=question))

    assert not answer.answered
    assert "nothing" in answer.text
    assert answer.confidence < 0.5
    assert (answer.sources, answer.quotes) == ((), ())
    assert host.events == []


async def test_a_citation_leads_to_the_lines_that_say_it(host: Host[Question, Answer]) -> None:
    for question, _ in ANSWERED:
        answer = await host.run(Question(text=question))
        host = Host(host.agent)

        for quote in answer.quotes:
            source = answer.sources[quote.source]
            lines = (HANDBOOK.parent / source.file).read_text().splitlines()[source.first_line - 1 : source.last_line]
            cited = set("".join(letter if letter.isalnum() else " " for letter in " ".join(lines)).split())
            said = set("".join(letter if letter.isalnum() else " " for letter in quote.text).split())
            assert said <= cited | {"Half", "a", "day", "A", "week", "Summer", "Winter"}  # a row names its columns


async def test_passages_are_told_when_found_and_sentences_when_chosen(host: Host[Question, Answer]) -> None:
    answer = await host.run(Question(text="How much does an electric bike cost for a week?"))

    told = [event["data"]["passage"]["sentences"] for event in events(host, "progress")]
    assert [list(source.sentences) in told for source in answer.sources] == [True] * len(answer.sources)
    deltas = [event["text"] for event in events(host, "text.delta")]
    assert "".join(deltas) == answer.text
    assert [delta.strip() for delta in deltas] == [quote.text for quote in answer.quotes]
    assert len(deltas) > 1


async def test_both_tempos_give_the_same_answer(agent: Handbook) -> None:
    question = Question(text="When do I get my refund?")

    assert await Host(agent, mode=Mode.REALTIME).run(question) == await Host(agent).run(question)


async def test_after_a_crash_what_was_found_is_not_searched_again(host: Host[Question, Answer]) -> None:
    question = Question(text="When do I get my refund?")
    with pytest.raises(Crash):
        await host.run(question, crash_before="answer")

    answer = await host.run(question)

    assert answer.answered
    assert host.ran.count("retrieve#0") == 1
    assert len(events(host, "progress")) == len({event["message"] for event in events(host, "progress")})


async def test_what_was_found_is_answered_from_though_the_documents_changed_meanwhile(
    host: Host[Question, Answer], tmp_path: Path
) -> None:
    question = Question(text="When do I get my refund?")
    with pytest.raises(Crash):
        await host.run(question, crash_after="retrieve")
    (tmp_path / "new.md").write_text("# Quite another text\n\nThe sea is deep and blue.\n")

    class Changed(Handbook):
        folders = (tmp_path,)

    changed = Host(Changed())
    changed.journal = host.journal

    assert "five working days" in (await changed.run(question)).text


def test_a_missing_folder_is_said_at_set_up(tmp_path: Path) -> None:
    class Lost(Support):
        folders = (tmp_path / "manual",)

    with pytest.raises(NothingToRead, match="manual does not exist"):
        Lost().setup()


@pytest.mark.parametrize("text", ["", "   ", "x" * 2001])
def test_a_question_has_a_length(text: str) -> None:
    with pytest.raises(ValidationError):
        Question(text=text)


def test_the_module_is_light_enough_for_a_gateway() -> None:
    heavy = "numpy onnxruntime tokenizers bm25s markdown_it html.parser"
    script = f"import sys, agents.library.support\nprint([m for m in {heavy.split()!r}[:-1] if m in sys.modules])"

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout.strip() == "[]"


async def test_our_own_documents_say_what_happens_when_a_worker_dies(tmp_path: Path) -> None:
    class Ours(Support):
        cache = tmp_path

    answer = await Host(Ours()).run(Question(text="What happens when a worker dies?"))

    assert answer.answered
    assert "docs/lifecycle.md" in {source.file for source in answer.sources}
    assert (DOCS / "lifecycle.md").is_file()
