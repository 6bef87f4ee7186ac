"""Blocks, gathered into passages: long enough to say something, short enough to cite."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from agents.library.support.records import Passage

from .blocks import Block
from .sentences import sentences

ENOUGH = 900  # letters in a passage, some 200 word pieces
LONGEST = 1000  # letters in one sentence; a longer one (a page of code, minified text) is cut
LIST = 500  # a lead-in takes its whole list along while both fit in this


@dataclass(frozen=True, slots=True)
class Line:
    """A sentence and the lines that it stands on."""

    text: str
    first_line: int
    last_line: int


def passages(file: str, blocks: Iterable[Block]) -> list[Passage]:
    """The passages of one document in order; none crosses a heading, and no text is left out."""
    made = []
    for heading, section in groupby(blocks, key=lambda block: block.heading):
        made += [_passage(file, heading, lines) for lines in _fill(_lines(list(section)))]
    return made


def _fill(lines: Iterable[Line]) -> Iterator[list[Line]]:
    page: list[Line] = []
    for line in lines:
        if page and sum(len(each.text) for each in page) + len(line.text) > ENOUGH:
            yield page
            page = []
        page.append(line)
    if page:
        yield page


def _passage(file: str, heading: tuple[str, ...], lines: Sequence[Line]) -> Passage:
    return Passage(
        file=file,
        heading=heading,
        first_line=lines[0].first_line,
        last_line=max(line.last_line for line in lines),
        sentences=tuple(line.text for line in lines),
    )


def _lines(blocks: Sequence[Block]) -> Iterator[Line]:
    """The section's sentences; what ends in a colon is kept with the code or the short list that it leads to."""
    at = 0
    while at < len(blocks):
        block, led = blocks[at], _led_by(blocks, at)
        said = (block.text,) if block.kind in ("row", "code") else sentences(block.text)
        for sentence in said[:-1] if led else said:
            yield from _cut(Line(sentence, block.first_line, block.last_line))
        if led:
            mark = "- " if led[0].kind == "item" else ""
            text = "\n".join([said[-1], *(mark + each.text for each in led)])
            yield from _cut(Line(text, block.first_line, led[-1].last_line))
        at += 1 + len(led)


def _led_by(blocks: Sequence[Block], at: int) -> Sequence[Block]:
    """The code or list that the block at this place leads to, if it does."""
    if blocks[at].kind not in ("prose", "item") or not blocks[at].text.endswith(":") or at + 1 == len(blocks):
        return ()
    following = blocks[at + 1]
    if following.kind == "code":
        return (following,)
    end = at + 1
    while end < len(blocks) and following.kind == blocks[end].kind == "item":
        end += 1
    led = blocks[at + 1 : end] if blocks[at].kind == "prose" else ()
    return led if sum(len(each.text) for each in led) + len(blocks[at].text) <= LIST else ()


def _cut(line: Line) -> Iterator[Line]:
    text = line.text
    while len(text) > LONGEST:
        end = max(text.rfind(" ", 1, LONGEST), text.rfind("\n", 1, LONGEST))
        end = end if end > 0 else LONGEST
        yield Line(text[:end], line.first_line, line.last_line)
        text = text[end:].lstrip()
    if text:
        yield Line(text, line.first_line, line.last_line)
