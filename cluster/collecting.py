"""How garbage is collected in processes whose records come and go by the thousand."""

from __future__ import annotations

import gc


def collect_rarely() -> None:
    """Leave out what was imported, and look at the rest less often: such records make no cycles, and each full look at
    Ray's and the models' objects would stop everything for a tenth of a second."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
