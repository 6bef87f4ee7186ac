"""`down`: end what `up` started and nothing else; what was accepted stays in the store."""

from __future__ import annotations

from cluster import raylocal

from . import leaving
from .codemark import python_path
from .state import ROOT, StateFolder


def down(state: StateFolder) -> int:
    """Returns when none of it runs any more; how many processes, actors and applications were ended."""
    cluster, record = state.id(), state.running()
    if cluster is None:
        return 0
    ended = 0
    if record is not None and not record.ours:
        raylocal.join(record.address, ROOT, python_path())
        ended = leaving.leave()
    ended += raylocal.stop(cluster)
    state.forget()
    return ended
