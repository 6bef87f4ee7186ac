"""Whether the agents can run on the kinds of nodes that there may be."""

from __future__ import annotations

from collections.abc import Sequence

from agents.catalog import Catalog
from cluster.nodekinds import NodeKind, NoSuchNode, check_fit


def check_fits(catalog: Catalog, kinds: Sequence[NodeKind]) -> None:
    """Raises NoSuchNode, with a line for each agent that no kind can ever hold a worker or a replica of. Where no kinds
    are known, or only their prices, nothing is refused."""
    known = [kind for kind in kinds if kind.resources]
    wrong = []
    for name, entry in catalog.items():
        for role, policy in (("worker", entry.agent.background), ("replica", entry.agent.realtime)):
            if policy is None:
                continue
            try:
                check_fit(f"a {role} of {name}", policy.resources, known)
            except NoSuchNode as error:
                wrong.append(str(error))
    if wrong:
        raise NoSuchNode("\n".join(wrong))
