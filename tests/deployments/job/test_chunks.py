"""Where an input is cut, and which lines are never sent."""

from __future__ import annotations

import io
import json

from deployments.gateway.fragments import elements, member
from deployments.job.chunks import BATCH_BYTES, Chunk, body, chunks
from deployments.job.lines import LINE_BYTES, read_lines


def cut(data: bytes, size: int = 3) -> list[Chunk]:
    return list(chunks(read_lines(io.BytesIO(data)), size))


def test_chunks_have_so_many_lines_bad_ones_included() -> None:
    found = cut(b"1\n2\n\nnope\n5\r\n6\n7\n8")

    assert [chunk.lines for chunk in found] == [[1, 2, 4], [5, 6, 7], [8]]
    assert [text for _, text in found[1].items] == [b"5", b"6", b"7"]
    assert [bad.line for bad in found[0].bad] == [4]


def test_the_same_input_is_always_cut_at_the_same_places() -> None:
    data = b"\n".join(b'"%s"' % (b"x" * (n * 7919 % 90_000)) for n in range(400))

    first = [chunk.lines for chunk in cut(data, 100)]

    assert first == [chunk.lines for chunk in cut(data, 100)]
    assert len(first) > 4  # by their size as well
    assert sum(len(chunk.items) for chunk in cut(data, 100)) == 400


def test_long_lines_make_small_chunks() -> None:
    data = b"\n".join(b'"%s"' % (b"x" * (BATCH_BYTES // 2)) for _ in range(4))

    assert [chunk.lines for chunk in cut(data, 100)] == [[1, 2], [3, 4]]


def test_what_no_agent_could_take_is_bad_with_its_reason() -> None:
    long = b'"%s"' % (b"x" * LINE_BYTES)
    data = b"\n".join([b"{", b'"\\u0000"', b'"\\ud800"', b"NaN", b'"\xff"', long, b"1 2", b'"good"'])

    (chunk,) = cut(data, 10)

    assert [line for line, _ in chunk.items] == [8]
    assert [bad.error["type"] for bad in chunk.bad] == [*["malformed_json"] * 5, "too_large", "malformed_json"]
    assert str(len(long)) in chunk.bad[5].error["detail"]
    assert all(bad.error["title"] and bad.error["detail"] for bad in chunk.bad)


def test_an_input_is_sent_exactly_as_it_stands_in_its_line() -> None:
    texts = [b'{"n": 1.000000000000000000000001}', '{"t": "a\u2028b é"}'.encode(), b"[ 1 , 2 ]"]

    sent = body('sh"op', texts, {"priority": 1}).decode()

    assert [text.encode() for text in elements(member(sent, "inputs"))] == texts
    assert json.loads(sent)["agent"] == 'sh"op'
    assert json.loads(sent)["options"] == {"priority": 1}
