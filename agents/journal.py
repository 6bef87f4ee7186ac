"""The steps that a run has recorded, and where in them it stands."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from .errors import StepError, StepMismatch

KEY_LIMIT = 255  # bytes of a step's name, and of its key


class StepId(NamedTuple):  # this and a record are NamedTuples: they cross processes by the thousand
    """A step is its name and its key: the author's (`:key`), else its number among the steps of that name (`#n`)."""

    name: str
    key: str

    def __str__(self) -> str:
        return self.name + self.key


class StepRecord(NamedTuple):
    """A step that ended well: the digest of its arguments and its value, as JSON text."""

    id: StepId
    digest: str
    value: str


class Journal:
    """Recorded steps by id. Each run walks it with a `Cursor` of its own."""

    def __init__(self, records: Iterable[StepRecord] = ()) -> None:
        self._records = {record.id: record for record in records}

    def __iter__(self) -> Iterator[StepRecord]:
        return iter(self._records.values())

    def __len__(self) -> int:
        return len(self._records)

    def __contains__(self, step: StepId) -> bool:
        return step in self._records

    def add(self, record: StepRecord) -> None:
        """Keep a step; the first record of an id stays."""
        self._records.setdefault(record.id, record)

    def find(self, step: StepId, digest: str) -> StepRecord | None:
        """The record of this step, None if there is none. Raises StepMismatch if its arguments were others."""
        record = self._records.get(step)
        if record is not None and record.digest != digest:
            raise StepMismatch(
                str(step),
                "was recorded with other arguments; the code or its inputs changed under a run in progress, or two "
                "steps share a key. Give the step a new name where its meaning changed, or start the task anew.",
            )
        return record


class _Entered:
    """A step that is in progress inside of the block; as a generator it would take three times as long."""

    __slots__ = ("_open", "_place", "_step")

    def __init__(self, step: StepId, place: StepId | str, open: set[StepId | str]) -> None:
        self._step = step
        self._place = place
        self._open = open

    def __enter__(self) -> StepId:
        self._open.add(self._place)
        return self._step

    def __exit__(self, *error: object) -> None:
        self._open.discard(self._place)


class Cursor:
    """Numbers the steps of one run in the order they are reached."""

    def __init__(self) -> None:
        self._reached: defaultdict[str, int] = defaultdict(int)
        self._open: set[StepId | str] = set()

    def enter(self, name: str, key: str | None, kind: str = "") -> _Entered:
        """A block with the id of the step that begins here; `kind` goes before the name.

        Raises StepError for an unusable name or key, and for steps of one name in parallel without keys: their
        numbers would depend on luck, and a replay could hand one the other's value.
        """
        _check(name, key)
        step = self._identify(kind + name, key)
        place: StepId | str = step if key is not None else step.name
        if place in self._open:
            raise StepError(str(step), "already runs in parallel; steps of one name in parallel need a key= each")
        return _Entered(step, place, self._open)

    def _identify(self, name: str, key: str | None) -> StepId:
        if key is not None:
            return StepId(name, f":{key}")
        self._reached[name] += 1
        return StepId(name, f"#{self._reached[name] - 1}")


def _is_plain(text: object) -> bool:
    """Whether there is nothing to say against it, which a look tells of nearly every name and key."""
    return isinstance(text, str) and text.isascii() and text.isprintable() and 0 < len(text) <= KEY_LIMIT


def _check(name: str, key: str | None) -> None:
    for what, text in (("name", name), ("key", key)):
        if text is None or _is_plain(text):
            continue
        if not isinstance(text, str) or not text or len(text.encode("utf-8", "replace")) > KEY_LIMIT:
            raise StepError(str(name)[:60], f"its {what} must be text of 1 to {KEY_LIMIT} bytes")
        if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in text):
            raise StepError(ascii(name)[1:-1][:60], f"its {what} holds control characters or lone surrogates")
