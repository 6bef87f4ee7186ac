"""A plain text document, read into blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from .blocks import Block, Kind, titles, under

UNDERLINE = re.compile(r"^([=\-~^*#])\1{2,}\s*$")
BULLET = re.compile(r"^\s*(?:[-*+•]|\d{1,3}[.)])\s+")


def read_text(source: str) -> list[Block]:
    """The text's paragraphs and list items; an underlined line is a heading, ranked by when its rule first came."""
    path: list[tuple[int, str]] = []
    rules: list[str] = []
    blocks: list[Block] = []
    for first_line, lines in _paragraphs(source):
        if len(lines) > 1 and (rule := UNDERLINE.match(lines[1])):
            rules += [rule[1]] if rule[1] not in rules else []
            path = under(path, rules.index(rule[1]), " ".join(lines[0].split()))
            first_line, lines = first_line + 2, lines[2:]
        for start, item in _items(lines):
            kind: Kind = "item" if BULLET.match(item[0]) else "prose"
            text = " ".join(" ".join(item).split())
            first = first_line + start
            text = BULLET.sub("", text) if kind == "item" else text
            if any(letter.isalnum() for letter in text):
                blocks.append(Block(kind, text, titles(path), first, first + len(item) - 1))
    return blocks


def _paragraphs(source: str) -> Iterator[tuple[int, list[str]]]:
    """Runs of lines that are not blank, with the number of their first line; a heading begins a new one."""
    lines = source.splitlines()
    start = 0
    for at in range(len(lines) + 1):
        blank = at == len(lines) or not lines[at].strip()
        heading = at + 1 < len(lines) and not blank and UNDERLINE.match(lines[at + 1])
        if blank or (heading and at > start):
            if start < at:
                yield start + 1, lines[start:at]
            start = at + 1 if blank else at


def _items(lines: list[str]) -> Iterator[tuple[int, list[str]]]:
    """A paragraph cut where a bullet begins a line."""
    starts = [at for at, line in enumerate(lines) if at == 0 or BULLET.match(line)]
    for start, end in pairwise([*starts, len(lines)]):
        yield start, lines[start:end]
