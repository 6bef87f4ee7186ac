"""A Markdown document, read into blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .blocks import Block, Kind, table_row, titles, under
from .html import read_html

if TYPE_CHECKING:
    from markdown_it.token import Token

FRONT_MATTER = re.compile(r"\A---[ \t]*\n.*?\n---[ \t]*(?:\n|\Z)", re.DOTALL)
DIAGRAMS = {"mermaid", "dot", "plantuml"}


def read_markdown(source: str) -> list[Block]:
    """The document's blocks in order; a YAML front matter and drawings are left out."""
    from markdown_it import MarkdownIt

    front = FRONT_MATTER.match(source)
    if front:
        source = "\n" * front.group().count("\n") + source[front.end() :]
    return list(_Reader().blocks(MarkdownIt("commonmark").enable("table").parse(source)))


class _Reader:
    def __init__(self) -> None:
        self.path: list[tuple[int, str]] = []
        self.lists = 0  # how many lists are open
        self.header: list[str] = []
        self.cells: list[str] = []
        self.within = ""  # the kind of the block token that an inline token belongs to
        self.lines = (1, 1)

    def blocks(self, tokens: list[Token]) -> Iterator[Block]:
        for token in tokens:
            if token.map:
                self.lines = (token.map[0] + 1, max(token.map[0] + 1, token.map[1]))
            match token.type:
                case "bullet_list_open" | "ordered_list_open":
                    self.lists += 1
                case "bullet_list_close" | "ordered_list_close":
                    self.lists -= 1
                case "heading_open" | "paragraph_open" | "th_open" | "td_open":
                    self.within = token.tag
                case "inline":
                    yield from self._inline(plain(token))
                case "thead_open" | "tr_open":
                    self.cells = []
                case "thead_close":
                    self.header = self.cells
                case "tr_close" if self.within == "td":
                    yield self._block("row", table_row(self.header, self.cells))
                case "fence" | "code_block" if not _drawing(token):
                    yield self._block("code", token.content.rstrip())
                case "html_block":
                    yield from self._html(token.content)

    def _inline(self, text: str) -> Iterator[Block]:
        if self.within in ("th", "td"):
            self.cells.append(text)
        elif self.within.startswith("h"):
            self.path = under(self.path, int(self.within[1]), text)
        elif text:
            yield self._block("item" if self.lists else "prose", text)

    def _block(self, kind: Kind, text: str) -> Block:
        return Block(kind, text, titles(self.path), *self.lines)

    def _html(self, content: str) -> Iterator[Block]:
        above = self.lines[0] - 1
        for block in read_html(content):
            heading = titles(self.path) + block.heading
            yield Block(block.kind, block.text, heading, block.first_line + above, block.last_line + above)


def plain(inline: Token) -> str:
    """The words of a line of Markdown without its marks."""
    parts = []
    for child in inline.children or ():
        if child.type in ("softbreak", "hardbreak"):
            parts.append(" ")
        elif child.type in ("text", "code_inline", "image"):
            parts.append(child.content)
    return " ".join("".join(parts).split())


def _drawing(code: Token) -> bool:
    """Whether a piece of code is a picture, in words for a program or in dashes and arrows: nothing to quote."""
    marks = "".join(code.content.split())
    return code.info.strip().lower() in DIAGRAMS or 2 * sum(map(str.isalnum, marks)) < len(marks)
