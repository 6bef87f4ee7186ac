"""The JSON text of the parts of a document, exactly as it was sent.

What is stored is what the caller wrote and the agent's type was checked on: a number keeps all its digits, in the
background as in real time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import cast

_BLANK = " \t\n\r"
_SPACE = re.compile(f"[{_BLANK}]*")
# Numbers are not converted: nobody looks at the values, only at where they end.
_scan = json.JSONDecoder(parse_int=str, parse_float=str).raw_decode


def member(document: str, name: str) -> str:
    """The text of the object's last member of that name, which is the one a parser keeps; KeyError if none."""
    found = None
    for key, start, end in _members(document):
        if key == name:
            found = start, end
    if found is None:
        raise KeyError(name)
    return document[slice(*found)]


def members(document: str) -> dict[str, str]:
    """The text of each of the object's members; of those of one name, the last."""
    return {key: document[start:end] for key, start, end in _members(document)}


def elements(array: str) -> Iterator[str]:
    """The text of each element."""
    at = _past_space(array, _past_space(array, 0) + 1)
    while array[at] != "]":
        _, end = _scan(array, at)
        yield array[at:end]
        at = _past_comma(array, end)


def _members(document: str) -> Iterator[tuple[str, int, int]]:
    """Each member's name, and where its value begins and ends. The document is known to be a JSON object."""
    at = _past_space(document, _past_space(document, 0) + 1)
    while document[at] != "}":
        key, colon = _scan(document, at)
        start = _past_space(document, _past_space(document, colon) + 1)
        _, end = _scan(document, start)
        yield key, start, end
        at = _past_comma(document, end)


def _past_comma(text: str, at: int) -> int:
    """Where the next element begins, or the bracket that ends them."""
    at = _past_space(text, at)
    return _past_space(text, at + 1) if text[at] == "," else at


def _past_space(text: str, at: int) -> int:
    if text[at] not in _BLANK:
        return at
    return cast(re.Match[str], _SPACE.match(text, at)).end()
