"""Identifiers: UUIDv7 for what is new, UUIDv8 where a key fixes them."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from uuid import UUID

NOISE = 8  # random bytes of an id
DRAWN = 64  # ids for which they are drawn at once: a system call for each takes longer than all else

_lock = threading.Lock()
_last = 0
_noise: list[str] = []  # each the end of one id


def new_id() -> str:
    """A fresh UUIDv7 as text (RFC 9562, 5.7): sorts by time, and strictly grows within one process."""
    global _last
    # 48 bits of milliseconds and 12 bits of their fraction, as RFC 9562 6.2 method 3 has it.
    now = time.time_ns() * 4096 // 1_000_000
    with _lock:
        if now <= _last:
            now = _last + 1
        _last = now
        if not _noise:
            _draw()
        noise = _noise.pop()
    moment = (now << 4).to_bytes(8).hex()  # by hand: a UUID object takes ten times as long
    return f"{moment[:8]}-{moment[8:12]}-7{moment[12:15]}{noise}"


def derived_id(*parts: str) -> str:
    """The UUIDv8 (RFC 9562, 5.8) that these parts fix: equal parts, equal id, in every process."""
    return _version_8(_digest(parts))


def derived_id_at(moment: float, *parts: str) -> str:
    """The UUIDv8 that this moment (to the millisecond) and these parts fix. It sorts among new ids by the moment."""
    return _version_8(int(moment * 1000) << 80 | _digest(parts) >> 48)


def moment_of(id: str) -> float:
    """When an id was made that sorts by time, as seconds since the epoch; of any other, some moment."""
    return int(id[:8] + id[9:13], 16) / 1000


def first_id(moment: float) -> str:
    """A text that sorts before every id that is made from that moment on, and behind all that sort by an earlier."""
    text = f"{int(moment * 1000):012x}"
    return f"{text[:8]}-{text[8:]}"


def is_id(text: str) -> bool:
    """Whether `text` is a UUID in its canonical form."""
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def _draw() -> None:
    drawn = os.urandom(NOISE * DRAWN).hex()
    for at in range(0, len(drawn), 2 * NOISE):
        variant = "89ab"[int(drawn[at], 16) & 3]
        _noise.append(f"-{variant}{drawn[at + 1 : at + 4]}-{drawn[at + 4 : at + 2 * NOISE]}")


def _begin_anew() -> None:
    """In a forked child: the noise is the parent's, and the lock may be held by a thread that is not here."""
    global _lock
    _lock = threading.Lock()
    _noise.clear()


os.register_at_fork(after_in_child=_begin_anew)


def _digest(parts: tuple[str, ...]) -> int:
    joined = "".join(f"{len(part)}:{part}" for part in parts)
    return int.from_bytes(hashlib.sha256(joined.encode("utf-8", "surrogatepass")).digest()[:16])


def _version_8(value: int) -> str:
    return str(UUID(int=value & ~(0xF << 76) & ~(0x3 << 62) | 0x8 << 76 | 0x2 << 62))
