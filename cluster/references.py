"""Which artifacts a JSON text names: those must last as long as the task that it belongs to."""

from __future__ import annotations

import re

from .store import Reference

NAMED = '"sha256"'  # in every text that names one
_SHA256 = re.compile(r'"sha256"\s*:\s*"([0-9a-f]{64})"')


def references(tenant: str, task: str, text: str) -> set[Reference]:
    """The artifacts that the text names, as rows."""
    return {Reference(tenant, found, task) for found in names(text)}


def names(text: str) -> set[str]:
    """The sha256s that the text names."""
    return set(_SHA256.findall(text))
