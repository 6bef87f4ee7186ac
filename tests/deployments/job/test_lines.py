"""What is a line, and how much of one is held."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest

from deployments.job.lines import LINE_BYTES, Line, Splitter, read_lines, survey


def split(*pieces: bytes, limit: int = 100) -> list[Line]:
    splitter = Splitter(limit)
    return [line for piece in pieces for line in splitter.feed(piece)] + list(splitter.end())


@pytest.mark.parametrize(
    ("pieces", "texts"),
    [
        ((), []),
        ((b"",), []),
        ((b"a",), [b"a"]),
        ((b"a\n",), [b"a"]),
        ((b"a\nb",), [b"a", b"b"]),
        ((b"a", b"b\nc", b"\n"), [b"ab", b"c"]),
        ((b"a\r\nb\r\n",), [b"a\r", b"b\r"]),
        ((b"\n\na\n\n",), [b"", b"", b"a", b""]),
        (("a\u2028b\u2029c\u0085d\x0b\x0c\x1ce\n".encode(),), ["a\u2028b\u2029c\u0085d\x0b\x0c\x1ce".encode()]),
    ],
)
def test_a_line_ends_at_a_newline_alone(pieces: tuple[bytes, ...], texts: list[bytes]) -> None:
    assert [line.text for line in split(*pieces)] == texts


def test_every_cut_into_pieces_gives_the_same_lines() -> None:
    data = 'one\r\n\n{"text": "two\u2028"}\nthree'.encode()

    for at in range(len(data) + 1):
        assert split(data[:at], data[at:]) == split(data)


def test_of_a_line_that_is_too_long_only_its_beginning_and_size_are_kept() -> None:
    before, long, after = split(b"a\n", b"x" * 60, b"y" * 60, b"z" * 60 + b"\nb", limit=100)

    assert (long.text, long.size) == (b"x" * 60 + b"y" * 40, 180)
    assert (before.text, after.text, after.number) == (b"a", b"b", 3)


def test_lines_are_counted_as_editors_do_and_blank_ones_are_left_out() -> None:
    file = io.BytesIO(b"\xef\xbb\xbf1\n\n \t\r\n4\n\n")

    assert [(line.number, line.text) for line in read_lines(file)] == [(1, b"1"), (4, b"4")]


def test_a_survey_tells_size_digest_and_lines() -> None:
    found = survey(io.BytesIO(b"1\n\n3"))

    assert (found.bytes, found.lines, found.items) == (4, 3, 2)
    assert found.sha256 != survey(io.BytesIO(b"1\n\n4")).sha256
    assert survey(io.BytesIO(b"")).items == 0


class Endless(io.RawIOBase):
    """A file that is one line, of which the memory for a small part would not be there."""

    def __init__(self, size: int) -> None:
        self._left = size
        self.most = 0

    def read(self, size: int = -1) -> bytes:
        assert 0 < size <= LINE_BYTES, "never all of it"
        piece = b"x" * min(size, self._left)
        self._left -= len(piece)
        return piece


def test_a_line_without_end_is_never_held() -> None:
    lines: Iterator[Line] = read_lines(Endless(20 * LINE_BYTES))  # type: ignore[arg-type]

    (line,) = lines

    assert (len(line.text), line.size) == (LINE_BYTES, 20 * LINE_BYTES)
