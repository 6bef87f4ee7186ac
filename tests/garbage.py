"""What only the collector of garbage can free: records that know each other when nobody knows them any more."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

OURS = ("agents.", "cluster.", "deployments.")


@contextmanager
def garbage() -> Iterator[Counter[str]]:
    """How many objects of each of our types the block left to it; known when the block is over."""
    found: Counter[str] = Counter()
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield found
        gc.collect()
        kinds = (type(left) for left in gc.garbage)
        found.update(f"{kind.__module__}.{kind.__qualname__}" for kind in kinds if kind.__module__.startswith(OURS))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
