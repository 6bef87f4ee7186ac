"""Frames of WebSockets that are one text as a whole, as nearly all are: read and written in one go.

What else there is (compression, messages in pieces, closes) is for the library that speaks the whole protocol.
"""

from __future__ import annotations

from collections.abc import Callable

from websockets import frames

WHOLE_TEXT = 0x81  # how such a frame begins: the last of its message, a text, with no extension
MASKED = 0x80
SHORT, MEDIUM, LONG = 125, 126, 127  # lengths up to the first stand in the head; the others say how many bytes follow
MASK = 4  # bytes

_apply_mask: Callable[[bytes, bytes], bytes] = vars(frames)["apply_mask"]  # in C where that was built; no public name


def size_of(data: bytes, at: int = 0) -> int:
    """How many bytes the masked frame has that begins `at`; 0 where its head is not there, or that is a lot."""
    if len(data) < at + 2 or not data[at + 1] & MASKED or (length := data[at + 1] & LONG) == LONG:
        return 0
    if length <= SHORT:
        return 2 + MASK + length
    return 4 + MASK + int.from_bytes(data[at + 2 : at + 4]) if len(data) >= at + 4 else 0


def are_whole(data: bytes) -> bool:
    """Whether `data` is a number of frames, the last of them whole."""
    at = 0
    while at < len(data):
        size = size_of(data, at)
        if not 0 < size <= len(data) - at:
            return False
        at += size
    return True


def read(data: bytes) -> bytes | None:
    """The text, where `data` is just such a frame."""
    if data[0] != WHOLE_TEXT or size_of(data) != len(data):
        return None
    begins = 2 if data[1] & LONG <= SHORT else 4
    return _apply_mask(data[begins + MASK :], data[begins : begins + MASK])


def written(text: bytes) -> bytes:
    """The frame of a server that says this text."""
    length = len(text)
    if length <= SHORT:
        return bytes((WHOLE_TEXT, length)) + text
    if length < 1 << 16:
        return bytes((WHOLE_TEXT, MEDIUM)) + length.to_bytes(2) + text
    return bytes((WHOLE_TEXT, LONG)) + length.to_bytes(8) + text
