"""That a body is read within its limit, and taken only as JSON that can be kept."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from deployments.bodies import parse, read
from deployments.problems import Refused


def request(*chunks: bytes, headers: dict[str, str] | None = None, cut: bool = False) -> Request:
    """A request whose body comes in these pieces, and is cut off after them."""
    messages: list[dict[str, Any]] = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    messages.append({"type": "http.disconnect"} if cut else {"type": "http.request", "body": b"", "more_body": False})

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    raw = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    return Request({"type": "http", "method": "POST", "headers": raw}, receive)


async def status(given: Request, limit: int) -> int:
    with pytest.raises(Refused) as refused:
        await read(given, limit)
    return refused.value.problem.status


async def test_a_body_within_its_limit_is_read_whole() -> None:
    assert await read(request(b"ab", b"cd"), 4) == b"abcd"
    assert await read(request(), 4) == b""


async def test_a_body_over_its_limit_is_a_413() -> None:
    assert await status(request(b"ab", b"cd"), 3) == 413
    assert await status(request(headers={"Content-Length": "4"}), 3) == 413
    assert await status(request(headers={"Content-Length": "9" * 5000}), 3) == 413


async def test_a_body_that_is_cut_off_is_a_400() -> None:
    assert await status(request(b"ab", cut=True), 4) == 400


@pytest.mark.parametrize("text", ["1e5", '"\\ud83d\\ude00"', '"\\\\u0000"', '{"a": [null, true]}', " 1 "])
def test_json_that_can_be_kept_is_taken(text: str) -> None:
    parse(text.encode())


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b'"\\u0000"', "The text holds"),
        (b'{"a": [1, "x\\u0000"]}', "a.1 holds"),
        (b'{"a": {"\\u0000": 1}}', "A name in a holds"),
        (b'{"\\u0000": 1}', "A name in the object holds"),
        (b'["\\\\u0000", "\\u0000"]', "1 holds"),
    ],
)
def test_a_nul_is_refused_with_its_place(body: bytes, place: str) -> None:
    with pytest.raises(Refused) as refused:
        parse(body)

    assert refused.value.problem.status == 400
    assert refused.value.problem.detail.startswith(place)


@given(body=st.binary() | st.text().map(lambda text: f'"{text}"'.encode("utf-8", "surrogatepass")))
def test_whatever_is_taken_can_be_kept_as_text(body: bytes) -> None:
    with suppress(Refused):
        assert "\0" not in str(parse(body)).encode().decode()
