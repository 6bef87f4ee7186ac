"""An HTML page, read into blocks.

The parser is Python's own: unlike a tree builder it knows the line of everything it meets, and a citation needs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser

from .blocks import Block, Kind, table_row, titles, under

HEADINGS = {f"h{level}": level for level in range(1, 7)}
BREAKS = {
    *HEADINGS,
    *("address", "article", "aside", "blockquote", "body", "caption", "center", "dd", "details", "div", "dl", "dt"),
    *("fieldset", "figcaption", "figure", "form", "header", "hr", "li", "main", "ol", "p", "pre", "section"),
    *("summary", "table", "tbody", "tfoot", "thead", "tr", "ul"),
}
UNSEEN = {"title", "script", "style", "template", "nav", "footer", "svg", "select", "button", "noscript", "iframe"}
FRAMES = {"aside", "div", "header", "ol", "section", "table", "ul"}  # what a site wraps its own furniture in,
FURNITURE = {  # under one of these classes or roles
    *("breadcrumb", "breadcrumbs", "menu", "nav", "navbar", "navfooter", "navheader", "navigation", "related"),
    *("sidebar", "sphinxsidebar", "table-of-contents", "toc", "toctree-wrapper"),
}
LONG_ROW = 400  # a longer one is a page's layout rather than data


def read_html(source: str) -> list[Block]:
    """The page's blocks in order, without scripts, navigation and blocks that are nothing but a link."""
    reader = _Reader()
    reader.feed(source)
    reader.close()
    reader.end()
    return reader.blocks


@dataclass
class _Row:
    """A table's row while it is being read."""

    first_line: int
    cells: list[str] = field(default_factory=list)
    in_cell: bool = False
    is_header: bool = False  # all its cells so far are


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.blocks: list[Block] = []
        self.path: list[tuple[int, str]] = []
        self.kind: Kind = "prose"
        self.text: list[str] = []
        self.linked = 0  # how many letters of the text belong to a link
        self.first_line = self.last_line = 1
        self.unseen = ""  # the tag whose content is being left out, and how deep it is nested in itself
        self.depth = 0
        self.links = 0
        self.terms: list[str] = []  # of a definition list, said with their definition
        self.in_term = False
        self.row: _Row | None = None
        self.header: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self.unseen:
            self.depth += tag == self.unseen
        elif tag in UNSEEN or (tag in FRAMES and _furniture(attrs)):
            self._end_block()
            self.unseen, self.depth = tag, 1
        elif tag == "a":
            self.links += 1
        elif tag == "br":
            self.text.append("\n" if self.kind == "code" else " ")
        elif tag in ("td", "th") and self.row:
            first = not self._end_cell(self.row)
            self.row.in_cell = True
            self.row.is_header = tag == "th" and (first or self.row.is_header)
        elif tag in BREAKS:
            self._begin(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.unseen:
            self.depth -= tag == self.unseen
            self.unseen = self.unseen if self.depth else ""
        elif tag == "a":
            self.links = max(0, self.links - 1)
        elif tag in HEADINGS:
            self._end_heading(HEADINGS[tag])
        elif tag == "dt":
            self._end_term()
        elif tag in ("tr", "table"):
            self._end_row()
        elif tag in BREAKS:
            self._begin("")
            if tag == "dl":
                self._end_terms()

    def handle_data(self, data: str) -> None:
        if self.unseen or not (data.strip() or self.text):
            return
        line = self.getpos()[0]
        if not self.text:
            self.first_line = line + data[: len(data) - len(data.lstrip())].count("\n")
        self.last_line = max(self.first_line, line + data.rstrip().count("\n"))
        self.linked += len("".join(data.split())) if self.links else 0
        self.text.append(data)

    def end(self) -> None:
        """Keep whatever is still open."""
        self._end_row()
        self._end_block()
        self._end_terms()

    def _end_block(self) -> None:
        """Keep what was read since the last block, if it is more than a link."""
        if self.in_term:
            self._end_term()
            return
        letters, linked = len("".join("".join(self.text).split())), self.linked
        text = self._take()
        if linked < letters:
            self._keep(self.kind, ": ".join(filter(None, [", ".join(self.terms), text])))
            self.terms = []

    def _end_row(self) -> None:
        """Keep the row that was being read, if there is one."""
        if not self.row:
            return
        row, self.row = self.row, None
        self._end_cell(row)
        self.first_line = row.first_line
        if row.is_header and not self.header:
            self.header = row.cells
        elif any(row.cells):
            text = table_row(self.header, row.cells)
            self._keep("row" if len(row.cells) > 1 and len(text) <= LONG_ROW else "prose", text)

    def _begin(self, tag: str) -> None:
        if tag in ("tr", "table", *HEADINGS):
            self._end_row()
        if self.row:
            self.text.append(" ")  # a paragraph in a cell belongs to its row
            return
        self._end_block()
        self.in_term = tag == "dt"
        inside = self.kind == "item" and tag in ("p", "div")
        self.kind = "code" if tag == "pre" else "item" if inside or tag in ("li", "dd") else "prose"
        if tag == "tr":
            self.row = _Row(self.getpos()[0])
        elif tag == "table":
            self.header = []

    def _end_heading(self, level: int) -> None:
        title = self._take()
        if title:
            self.path = under(self.path, level, title)

    def _end_term(self) -> None:
        self.in_term = False
        self.terms += filter(None, [self._take()])

    def _end_terms(self) -> None:
        """Keep terms that nothing was said of."""
        if self.terms:
            self._keep("item", ", ".join(self.terms))
            self.terms = []

    def _end_cell(self, row: _Row) -> bool:
        """Keep the cell that was being read; whether the row has any by now."""
        text = self._take()
        if row.in_cell or text:
            row.cells.append(text)
        row.in_cell = False
        return bool(row.cells)

    def _keep(self, kind: Kind, text: str) -> None:
        self.blocks.append(Block(kind, text, titles(self.path), self.first_line, self.last_line))

    def _take(self) -> str:
        text, self.text, self.linked = "".join(self.text), [], 0
        return text.strip("\n").rstrip() if self.kind == "code" else " ".join(text.split())


def _furniture(attrs: Sequence[tuple[str, str | None]]) -> bool:
    said = " ".join(value for name, value in attrs if value and name in ("class", "role"))
    return not FURNITURE.isdisjoint(said.lower().split())
