"""How garbage is collected in processes whose records come and go by the thousand."""

from __future__ import annotations

import gc


def collect_rarely() -> None:
    """Leave out what was imported, and look at the rest less often: such records make no cycles, and each full look at
    Ray's and the models' objects would stop everything for a tenth of a second. And so it would if as many as fifty
    thousand were let gather before the youngest are looked at, which all may have to be freed."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 20, 500)
