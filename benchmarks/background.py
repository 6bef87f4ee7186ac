"""`bench background`: the two figures that tell most, in a minute; `bench ledger` has them among all others."""

from __future__ import annotations

from typing import Any

from . import batches, waiting
from .ledger import Sizes, beside_probe
from .local import Local


def measure(local: Local, sizes: Sizes) -> dict[str, Any]:
    """Throughput of batches, and the time of one task at a time."""

    def in_batches() -> dict[str, Any]:
        return batches.measure(local.url, "echo", tasks=sizes.tasks, batch=sizes.batch, rounds=sizes.rounds)

    return {
        "batches": beside_probe(local.folder, sizes, in_batches),
        "one_at_a_time": beside_probe(local.folder, sizes, lambda: waiting.measure(local.url, sizes.one_at_a_time)),
    }
