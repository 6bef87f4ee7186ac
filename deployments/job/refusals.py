"""What the refusal of a whole batch says about its lines."""

from __future__ import annotations

import re
from typing import Any

from .chunks import bad_line

OF_LINES = {  # problems that one line can be the cause of, and the `type` of such a line's error
    "/problems/invalid-input": "invalid_input",
    "/problems/malformed-json": "malformed_json",
    "/problems/too-large": "too_large",
    "/problems/internal": "internal",
}
_NAMED = re.compile(r"inputs\.([0-9]{1,6})(?::\s*|\s+)(.*)", re.DOTALL)


def concerns_lines(document: dict[str, Any]) -> bool:
    """Whether fewer lines may be accepted where all of them were not."""
    return document.get("type") in OF_LINES


def culprits(document: dict[str, Any], count: int) -> dict[int, dict[str, Any]]:
    """The inputs that it names, by their place among `count`, and the error of each; it may name none, or not all."""
    found: dict[int, list[str]] = {}
    for said in [*(document.get("errors") or ()), str(document.get("detail", ""))]:
        named = _NAMED.fullmatch(said)
        if named and int(named[1]) < count:
            found.setdefault(int(named[1]), []).append(named[2])
    return {place: _error(document, said) for place, said in found.items()}


def alone(document: dict[str, Any]) -> dict[str, Any]:
    """The error of the one line that was sent by itself."""
    detail = str(document.get("detail", ""))
    named = _NAMED.fullmatch(detail)
    errors = [_NAMED.sub(r"\2", line) for line in document.get("errors") or ()]
    return _error(document, errors or [named[2] if named else detail])


def _error(document: dict[str, Any], said: list[str]) -> dict[str, Any]:
    type = OF_LINES.get(str(document.get("type")), "refused")
    return bad_line(type, str(document.get("title", "The line was refused")), "; ".join(said))
