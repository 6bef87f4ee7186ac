"""How blocks are gathered."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agents.library.support.reading.blocks import Block, Kind
from agents.library.support.reading.markdown import read_markdown
from agents.library.support.reading.passages import ENOUGH, LONGEST, passages


def prose(text: str, *heading: str, line: int = 1, kind: Kind = "prose") -> Block:
    return Block(kind, text, heading, line, line)


def test_neighbours_under_one_heading_are_gathered_until_there_is_enough() -> None:
    sentence = f"{'word ' * 59}end."

    made = passages("a.md", [prose(sentence, "H", line=line) for line in range(1, 8)])

    assert [(each.first_line, each.last_line) for each in made] == [(1, 3), (4, 6), (7, 7)]
    assert all(len(each.text) <= ENOUGH + 10 for each in made)


def test_no_passage_crosses_a_heading() -> None:
    made = passages("a.md", [prose("Little.", "A"), prose("More.", "B"), prose("Less.", "A")])

    assert [(each.heading, each.sentences) for each in made] == [
        (("A",), ("Little.",)),
        (("B",), ("More.",)),
        (("A",), ("Less.",)),
    ]


def test_a_lead_in_is_kept_with_the_code_it_leads_to() -> None:
    [passage] = passages("a.md", read_markdown("It is easy. Start it so:\n\n    ./start\n    ./wait\n\nDone.\n"))

    assert passage.sentences == ("It is easy.", "Start it so:\n./start\n./wait", "Done.")


def test_a_lead_in_is_kept_with_its_list_if_that_is_short() -> None:
    [short] = passages("a.md", read_markdown("Three ways:\n\n- by car\n- on foot\n"))
    long = passages("a.md", read_markdown("Ways:\n\n" + "- word and word\n" * 60))

    assert short.sentences == ("Three ways:\n- by car\n- on foot",)
    assert long[0].sentences[:2] == ("Ways:", "word and word")


def test_an_endless_line_is_cut() -> None:
    made = passages("a.md", [prose("x" * 2500, kind="code")])

    assert [len(each.text) for each in made] == [LONGEST, LONGEST, 500]


texts = st.lists(st.text(st.sampled_from("ab .:\n"), min_size=1, max_size=1500).filter(str.strip), max_size=8)


@given(texts, st.sampled_from(["prose", "item", "code", "row"]))
def test_no_text_is_lost_and_none_is_made_up(blocks: list[str], kind: Kind) -> None:
    made = passages("a.md", [prose(text, "H", line=line, kind=kind) for line, text in enumerate(blocks, start=1)])

    said = "".join("".join(passage.sentences) for passage in made)
    assert "".join(said.split()) == "".join("".join(blocks).split())
    assert all(sentence.strip() and len(sentence) <= LONGEST for passage in made for sentence in passage.sentences)
