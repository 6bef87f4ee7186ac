"""What a caller would rather have: the Prefer header (RFC 7240)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

WAIT_LIMIT = 300.0  # seconds
TIMEOUT = b"x-request-timeout-seconds"  # Ray Serve's own: it cuts the run then, with a 408 in plain text
CUT_MARGIN = 0.1  # seconds before that in which we answer

# Possessive throughout: a hostile header is read in one pass as well.
_QUOTED = r'"(?:[^"\\]|\\.)*+"'
_ELEMENT = re.compile(rf'(?:[^",]|{_QUOTED})*+(?:,|$)')
_PREFERENCE = re.compile(
    rf"[ \t]*+([!#$%&'*+\-.^_`|~\w]++)[ \t]*+(?:=[ \t]*+([^\s\",;=]++|{_QUOTED}))?+[ \t]*+(?:[;,]|$)"
)
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")  # RFC 7240 knows whole ones only


@dataclass(frozen=True, slots=True)
class Preference:
    """`respond_async`: a task will do; `wait`: seconds the caller would wait for the end, None if not said."""

    respond_async: bool = False
    wait: float | None = None

    @property
    def patience(self) -> float:
        return self.wait or 0.0


NONE = Preference()


def preference(headers: Iterable[str]) -> Preference:
    """What these Prefer headers say. What does not parse is ignored; a longer wait is cut to WAIT_LIMIT."""
    return _preference(tuple(headers))


@lru_cache(64)  # callers say the same again and again
def _preference(headers: tuple[str, ...]) -> Preference:
    stated: dict[str, str] = {}
    for header in headers:
        for name, value in _preferences(header):
            stated.setdefault(name.lower(), value)  # RFC 7240: of one preference stated twice the first counts
    seconds = stated.get("wait", "")
    wait = min(float(seconds), WAIT_LIMIT) if _SECONDS.fullmatch(seconds) else None
    return Preference(stated.get("respond-async") == "", wait)


def before_serve(headers: Iterable[str]) -> float:
    """How many seconds there are for an answer of ours before Serve cuts the run, as its header has it."""
    for header in headers:
        try:
            seconds = float(header)
        except ValueError:
            continue
        if seconds > 0:  # as Serve reads it: none or a negative one never cuts
            return max(seconds / 2, seconds - CUT_MARGIN)
    return math.inf


def applied(*, respond_async: bool = False, wait: float | None = None) -> tuple[tuple[str, str], ...]:
    """The Preference-Applied header for what was honoured, if anything was."""
    parts = [*(["respond-async"] if respond_async else []), *([f"wait={wait:g}"] if wait is not None else [])]
    return (("Preference-Applied", ", ".join(parts)),) if parts else ()


def _preferences(header: str) -> Iterator[tuple[str, str]]:
    """The name and value of each element that parses, up to where the list itself does not."""
    at = 0
    while at < len(header) and (element := _ELEMENT.match(header, at)):
        found = _PREFERENCE.match(element[0])
        if found:
            yield found[1], (found[2] or "").strip('"')
        at = element.end()
