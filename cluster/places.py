"""Where a store lies, as one string: the path of a SQLite file, or the URL of a PostgreSQL database."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

POSTGRESQL = ("postgresql", "postgres")


def check_place(where: str) -> None:
    """Raises ValueError, whose sentence tells no password, where no store can lie there."""
    scheme, is_url, _ = where.partition("://")
    if not is_url:
        return
    if scheme not in POSTGRESQL:
        raise ValueError(
            f"{scheme} is not a kind of store; give the path of a SQLite file, or postgresql://user:password@host/name"
        )
    try:
        _place(where)
    except ValueError:
        raise ValueError("that is not a URL; in a password, / @ : and such are written %2F %40 %3A") from None


def on_server(where: str) -> bool:
    """Whether any node reaches it; a file is reached from its own only."""
    return "://" in where


def same_place(one: str, other: str) -> bool:
    """Whether both name one store, whoever asks there and how."""
    return _place(one) == _place(other)


def without_password(where: str) -> str:
    """As it may be shown to anybody."""
    masked = re.sub(r"://([^:/?#@]*):[^/?#]*@", r"://\1:***@", where)
    return re.sub(r"(?<=[?&]password=)[^&]*", "***", masked)


def _place(where: str) -> tuple[object, ...]:
    if not on_server(where):
        return (Path(where),)
    url = urlsplit(where)
    asked = parse_qs(url.query)  # libpq's other way to name a host, and the only one for a socket
    return url.hostname or asked.get("host"), url.port or 5432, url.path
