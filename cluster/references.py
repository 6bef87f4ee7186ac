"""Which artifacts a JSON text names: those must last as long as the task that it belongs to."""

from __future__ import annotations

import re

from .store import Reference

_SHA256 = re.compile(r'"sha256"\s*:\s*"([0-9a-f]{64})"')


def references(tenant: str, task: str, text: str | None) -> set[Reference]:
    """The artifacts that the text names, as rows. Most texts name none, and cost one search."""
    if text is None or '"sha256"' not in text:
        return set()
    return {Reference(tenant, found, task) for found in names(text)}


def names(text: str) -> set[str]:
    """The sha256s that the text names."""
    return set(_SHA256.findall(text))
