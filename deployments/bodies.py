"""Request bodies: read within their limit while they come, and taken as JSON only if it can be kept as text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json
from starlette.requests import Request

from .problems import Problem, Refused, malformed, too_large

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one request may carry, in bytes."""

    input: int = MIB
    batch: int = 64 * MIB
    artifact: int = 256 * MIB


async def read(request: Request, limit: int, what: str = "The body") -> bytes:
    """The whole body. Raises Refused (413) as soon as it is, or says it will be, larger than `limit`."""
    refuse_announced(request, limit, what)
    chunks, size, more = [], 0, True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise Refused(incomplete())
        chunk, more = message.get("body", b""), message.get("more_body", False)
        size += len(chunk)
        if size > limit:
            raise Refused(too_large(what, limit))
        chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def refuse_announced(request: Request, limit: int, what: str = "The body") -> None:
    """Raises Refused (413) where Content-Length already says that the body is larger than `limit`."""
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > limit:
        raise Refused(too_large(what, limit))


def incomplete() -> Problem:
    return Problem(
        400, "The body ended early", "The connection closed before the body was whole.", "/problems/incomplete-body"
    )


def parse(body: bytes) -> Any:
    """The value that `body` holds. Raises Refused (400), with the place, for what is not JSON, and for NUL and lone
    surrogates in its texts: databases and other programs cannot keep them."""
    try:
        value = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise Refused(malformed(f"{_reason(str(error))}.")) from None
    # An escaped NUL can only be written like this; where the bytes do not occur there is nothing to look for.
    if b"\\u0000" in body:
        for place in _nuls(value, ()):
            raise Refused(malformed(f"{place} holds the character NUL (\\u0000), which cannot be kept; leave it out."))
    return value


def _reason(message: str) -> str:
    if "hex escape" in message:
        return f"{message}: a lone surrogate (half of a \\u pair) or a broken \\u escape cannot be kept"
    return message


def _nuls(value: Any, path: tuple[str, ...]) -> Iterator[str]:
    """Where NUL occurs, as a path; the parser has bounded the depth."""
    if isinstance(value, str):
        if "\0" in value:
            yield ".".join(path) or "The text"
    elif isinstance(value, dict):
        for key, item in value.items():
            if "\0" in key:
                yield f"A name in {'.'.join(path) or 'the object'}"
            yield from _nuls(item, (*path, key))
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from _nuls(item, (*path, str(place)))
