"""What tests of the elastic pool stand on: nodes really come when they are needed, and go as those of a cloud do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import ray
from ray._private.state import state
from ray.exceptions import GetTimeoutError, RayActorError

from cluster import processes

from .harness import Cluster, autoscaled

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]

NOTICE = 3.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with autoscaled(notice=NOTICE) as found:
        yield found
    assert processes.marked(found.id) == []


@ray.remote(num_cpus=1, max_restarts=0)
class Tenant:
    """Needs a node, and keeps it."""

    def kind(self) -> str:
        return str(ray.get_runtime_context().get_node_labels()["ray.io/node-group"])


def tenant(**options: Any) -> Any:
    made: Any = Tenant
    return made.options(**options).remote()


def kind_of(tenant: Any, patience: float = 60) -> str:
    return str(ray.get(tenant.kind.remote(), timeout=patience))


def test_a_node_comes_when_it_is_needed_and_goes_with_notice(cluster: Cluster) -> None:
    assert cluster.nodes() == []
    actor = tenant()

    assert kind_of(actor) == "spot"  # it has the higher priority
    (machine,) = cluster.machines("spot")
    assert cluster.nodes("spot") == [machine.id]

    cluster.reclaim(machine)
    cluster.until(lambda: machine.id in state.get_draining_nodes())
    assert kind_of(actor) == "spot", "it works on until the notice is over"
    cluster.until(lambda: machine.id not in cluster.nodes())
    with pytest.raises(RayActorError):
        kind_of(actor)


@pytest.mark.long
def test_kinds_are_refused_or_hang_and_each_is_had_again(cluster: Cluster) -> None:
    cluster.refuse("spot")
    first = tenant()
    with pytest.raises(GetTimeoutError):
        kind_of(first, 8)
    assert cluster.machines() == []
    cluster.refuse("spot", False)
    assert kind_of(first) == "spot"

    cluster.hang("gpu")
    second = tenant(num_gpus=1)
    with pytest.raises(GetTimeoutError):
        kind_of(second, 10)
    assert cluster.nodes("gpu") == []
    cluster.hang("gpu", False)
    assert kind_of(second) == "gpu"
    for each in (first, second):
        ray.kill(each)

    cluster.until(lambda: cluster.nodes() == [])  # idle nodes are given back
    cluster.until(lambda: cluster.machines() == [])


@pytest.mark.long
def test_a_machine_that_is_lost_is_gone_at_once_though_ray_still_counts_it(cluster: Cluster) -> None:
    actor = tenant(label_selector={"ray.io/market-type": "on-demand"})
    kind = kind_of(actor)
    (machine,) = cluster.machines(kind)

    cluster.lose(machine)

    assert cluster.machines(kind) == []
    assert machine.id in cluster.nodes()
    assert machine.id not in state.get_draining_nodes()
    with pytest.raises(RayActorError):
        kind_of(actor)
    cluster.until(lambda: machine.id not in cluster.nodes())
