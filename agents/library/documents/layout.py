"""Where lines stand to each other on a page, and text that runs over from one into the next."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from .records import Line

CLOSE = 2.5  # in line heights: how far apart the cells of one value may stand
MOST_CELLS = 3  # that one value may run over, beyond its first
RUNNING = 12  # characters from which a line is taken for running text

T = TypeVar("T")
Finder = Callable[[str], Iterable[tuple[int, int, T]]]


class Layout:
    """The neighbours of each line among the lines of one page."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self.lines = lines
        self._order = sorted(range(len(self.lines)), key=lambda n: _middle(self.lines[n]))
        self._middles = [_middle(self.lines[n]) for n in self._order]

    def right(self, n: int) -> int | None:
        """The next line to the right on the same row."""
        line = self.lines[n]
        near = (m for m in self._between(_middle(line) - line.height, _middle(line) + line.height) if m != n)
        row = [m for m in near if _same_row(line, self.lines[m]) and self.lines[m].x0 >= line.x1 - 1]
        return min(row, key=lambda m: self.lines[m].x0, default=None)

    def left(self, n: int) -> int | None:
        """The next line to the left on the same row."""
        line = self.lines[n]
        near = (m for m in self._between(_middle(line) - line.height, _middle(line) + line.height) if m != n)
        row = [m for m in near if _same_row(line, self.lines[m]) and self.lines[m].x1 <= line.x0 + 1]
        return max(row, key=lambda m: self.lines[m].x1, default=None)

    def below(self, n: int, reach: float = 1.7) -> int | None:
        """The line that goes on under this one, within `reach` line heights."""
        line = self.lines[n]
        near = self._between(_middle(line) + line.height * 0.5, _middle(line) + line.height * reach)
        under = [m for m in near if _overlap(line, self.lines[m]) > 0]
        return min(under, key=lambda m: (round(self.lines[m].y0), self.lines[m].x0), default=None)

    def above(self, n: int, reach: float = 2.5) -> int | None:
        """The line that stands over this one, within `reach` line heights."""
        line = self.lines[n]
        near = self._between(_middle(line) - line.height * reach, _middle(line) - line.height * 0.5)
        over = [m for m in near if _overlap(line, self.lines[m]) > 0]
        return max(over, key=lambda m: (round(self.lines[m].y0), -self.lines[m].x0), default=None)

    def rows(self) -> list[list[int]]:
        """All lines as rows from top to bottom, each from left to right."""
        rows: list[list[int]] = []
        for n in self._order:
            if rows and any(_same_row(self.lines[m], self.lines[n]) for m in rows[-1][-3:]):
                rows[-1].append(n)
            else:
                rows.append([n])
        return [sorted(row, key=lambda n: self.lines[n].x0) for row in rows]

    def joints(self, n: int) -> Iterator[tuple[int, ...]]:
        """What a value that begins on this line may run over: the cells close to its right, or the line below."""
        row, line = [n], self.lines[n]
        asks = line.text.endswith(":")
        while len(row) <= MOST_CELLS and (right := self.right(row[-1])) is not None:
            if not asks and self.lines[right].x0 - self.lines[row[-1]].x1 > CLOSE * line.height:
                break
            row.append(right)
            yield tuple(row)
            if asks:
                break
        below = self.below(n, 2.3) if asks else self.below(n)
        if below is not None and (asks or _runs_on(line, self.lines[below])):
            yield (n, below)

    def _between(self, low: float, high: float) -> list[int]:
        return self._order[bisect_left(self._middles, low) : bisect_right(self._middles, high)]


@dataclass(frozen=True, slots=True)
class Spot(Generic[T]):
    """A match: what was found, its text, and the characters (line, offset) that it covers."""

    value: T
    text: str
    confidence: float
    line: int
    start: int
    covers: frozenset[tuple[int, int]]


def spot(layout: Layout, find: Finder[T], *, across: bool = True) -> list[Spot[T]]:
    """Every match within a line or (if `across`) over the joint of two neighbours; the longer wins an overlap."""
    spots: list[Spot[T]] = []
    for n, line in enumerate(layout.lines):
        spots += [_spot(layout, value, line.text, start, end, (n,)) for start, end, value in find(line.text)]
        for parts in layout.joints(n) if across else ():
            joint = len(line.text)
            text = "\n".join(layout.lines[m].text for m in parts)
            crossing = ((s, e, value) for s, e, value in find(text) if s < joint < e - 1)
            spots += [_spot(layout, value, text, s, e, parts) for s, e, value in crossing]
    return _disjoint(spots)


def _runs_on(line: Line, below: Line) -> bool:
    """Whether a sentence may go on below: a cell above a cell does not, nor a heading above an indented one."""
    return len(line.text) >= RUNNING and line.x0 - 8 * line.height < below.x0 < line.x0 + line.height


def _spot(layout: Layout, value: T, text: str, start: int, end: int, parts: tuple[int, ...]) -> Spot[T]:
    places = [(n, at) for n in parts for at in range(len(layout.lines[n].text) + 1)]  # one more for the joint
    covers = frozenset(places[start:end])
    confidence = min(layout.lines[n].confidence for n in {line for line, _ in covers})
    return Spot(value, " ".join(text[start:end].split()), confidence, parts[0], start, covers)


def _disjoint(spots: list[Spot[T]]) -> list[Spot[T]]:
    taken: set[tuple[int, int]] = set()
    kept: list[Spot[T]] = []
    for candidate in sorted(spots, key=lambda s: (-len(s.covers), s.line, s.start)):
        if taken.isdisjoint(candidate.covers):
            taken |= candidate.covers
            kept.append(candidate)
    return sorted(kept, key=lambda s: (s.line, s.start))


def _middle(line: Line) -> float:
    return (line.y0 + line.y1) / 2


def _same_row(a: Line, b: Line) -> bool:
    return min(a.y1, b.y1) - max(a.y0, b.y0) > 0.5 * min(a.height, b.height)


def _overlap(a: Line, b: Line) -> float:
    return min(a.x1, b.x1) - max(a.x0, b.x0)
