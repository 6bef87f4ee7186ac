"""What a plain text says, and on which lines."""

from __future__ import annotations

from agents.library.support.reading.plaintext import read_text


def test_underlined_lines_are_headings_ranked_by_their_rule() -> None:
    blocks = read_text("Title\n=====\n\nintro\n\nPart\n----\ntext\n\nOther\n-----\n\nmore\n")

    assert [(block.heading, block.text) for block in blocks] == [
        (("Title",), "intro"),
        (("Title", "Part"), "text"),
        (("Title", "Other"), "more"),
    ]


def test_paragraphs_and_bullets_know_their_lines() -> None:
    blocks = read_text("\none\ntwo\n\n- a\n  b\n- c\n1. d\n")

    assert [(block.kind, block.text, block.first_line, block.last_line) for block in blocks] == [
        ("prose", "one two", 2, 3),
        ("item", "a b", 5, 6),
        ("item", "c", 7, 7),
        ("item", "d", 8, 8),
    ]


def test_a_heading_needs_no_blank_line_before_it() -> None:
    assert [(block.heading, block.text) for block in read_text("text\nPart\n====\nmore")] == [
        ((), "text"),
        (("Part",), "more"),
    ]


def test_rules_and_blank_text_say_nothing() -> None:
    assert read_text("") == []
    assert read_text("\n \n-----\n\n* * *\n") == []
