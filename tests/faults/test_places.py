"""Where the ledger and the pool run while the cluster has other nodes: on the head, each time that they start."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import ray

from cluster.remote import LEDGER, POOL, Remote
from tests.raycluster import ray_cluster

from .background import Background, background
from .nodes import second_node

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]

STARTS = 4


@pytest.fixture
def rubato(tmp_path: Path) -> Iterator[Background]:
    with ExitStack() as stack:
        stack.enter_context(second_node(stack.enter_context(ray_cluster(with_haproxy=False)))).until_known()
        yield stack.enter_context(background(tmp_path, ["tests.faults.laborers:Hauler"], workers=1))


async def test_they_start_on_the_head_each_time(rubato: Background) -> None:
    head = ray.get_runtime_context().get_node_id()
    for _ in range(STARTS):
        old = {name: await rubato.kill(name) for name in (LEDGER, POOL)}
        for name in old:
            while await Remote(name).call("pid", patience=60) == old[name]:
                pass
            assert node_of(name) == head


def node_of(name: str) -> str:
    """The node on which a named actor runs."""
    handle = ray.get_actor(name, namespace="rubato")
    return str(ray._private.state.actors(handle._actor_id.hex())["Address"]["NodeID"])
