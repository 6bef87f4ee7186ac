"""How old an answer may be that a caller takes: the Cache-Control header of a request (RFC 9111)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

_SECONDS = re.compile(r"[0-9]{1,9}")


def oldest_taken(headers: Iterable[str]) -> float:
    """The age in seconds up to which a kept answer will do: 0 for `no-cache` and `no-store`, else `max-age`, else any.
    What does not parse is ignored."""
    age = math.inf
    for header in headers:
        for directive in header.split(","):
            name, _, value = (part.strip() for part in directive.partition("="))
            if name.lower() in ("no-cache", "no-store"):
                return 0.0
            if name.lower() == "max-age" and _SECONDS.fullmatch(value.strip('"')):
                age = min(age, float(value.strip('"')))
    return age
