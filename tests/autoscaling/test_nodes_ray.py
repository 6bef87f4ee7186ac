"""What Ray says of its nodes, by calls that are not ours to rely on: this notices when it says it no more."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import pytest
import ray
from ray._raylet import GcsClient  # type: ignore[attr-defined]  # it is compiled, and has no types
from ray.core.generated.autoscaler_pb2 import ClusterConfig, NodeGroupConfig

from cluster import nodes
from cluster.nodekinds import MANY, NodeKind

from .ground import HEAD_ID, Machine
from .harness import KINDS, Cluster, Rented, autoscaled

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]

PLAIN = Rented("plain", {"CPU": 1}, market="")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with autoscaled((*KINDS, PLAIN)) as found:
        yield found


@pytest.fixture(scope="module")
def machine(cluster: Cluster) -> Machine:
    """One of spot, which is there because somebody is on it."""
    made: Any = Tenant
    ray.get(made.remote().ready.remote(), timeout=60)
    (found,) = cluster.machines("spot")
    return found


@ray.remote(num_cpus=1, label_selector={"ray.io/market-type": "spot"}, name="tenant", lifetime="detached")
class Tenant:
    """Needs a node, and keeps it."""

    def ready(self) -> None:
        """Answers once there is one."""


def test_the_kinds_and_bounds_are_those_of_the_autoscaler(cluster: Cluster) -> None:
    found = nodes.node_kinds()

    assert found is not None
    assert sorted(found, key=lambda kind: kind.name) == [
        NodeKind("cpu", {"CPU": 2}, {"ray.io/market-type": "on-demand"}, max_nodes=2),
        NodeKind("gpu", {"CPU": 1, "GPU": 1}, {"ray.io/market-type": "on-demand"}, max_nodes=2),
        NodeKind("plain", {"CPU": 1}, max_nodes=2),
        NodeKind("spot", {"CPU": 2}, {"ray.io/market-type": "spot"}, max_nodes=2),
    ]
    assert {kind.name: kind.market for kind in found}["plain"] == "on_demand"


def test_the_nodes_are_known_by_kind_and_market(cluster: Cluster, machine: Machine) -> None:
    found = {node.id: node for node in nodes.nodes()}

    assert found.keys() == {HEAD_ID, machine.id}
    spot = found[machine.id]
    assert (spot.kind, spot.market, spot.resources["CPU"], spot.draining) == ("spot", "spot", 2.0, None)
    assert (found[HEAD_ID].kind, found[HEAD_ID].market) == ("head", "on_demand")


def test_a_drain_and_its_deadline_are_seen_at_once_whichever_way_ray_is_asked(
    cluster: Cluster, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert nodes.draining() == {}
    cluster.drain(machine, 100)
    asked = time.monotonic()
    while not (seen := nodes.draining()):
        assert time.monotonic() < asked + 1

    assert seen.keys() == {machine.id}
    assert 90 < seen[machine.id] <= 100
    (node,) = [node for node in nodes.nodes() if node.id == machine.id]
    assert node.draining is not None
    assert 90 < node.draining <= 100

    class Client:
        """One without the call that Serve makes."""

        get_cluster_resource_state = nodes._gcs_client().get_cluster_resource_state

    monkeypatch.setattr(nodes, "_gcs_client", Client)
    assert nodes.draining() == pytest.approx(seen, abs=5)
    monkeypatch.setattr(nodes, "state", object())
    cluster.until(lambda: nodes.draining() == {machine.id: math.inf}, 5)  # comes with the node's next report


def test_where_nobody_here_knows_the_autoscaler_what_was_published_counts(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes, "_autoscalers_file", lambda gcs: None)
    assert nodes.node_kinds() is None

    groups = [
        NodeGroupConfig(name="big", resources={"CPU": 8}, min_count=1, max_count=3),
        NodeGroupConfig(name="any", resources={"CPU": 1}, max_count=-1),
    ]
    GcsClient(address=cluster.address).report_cluster_config(
        ClusterConfig(node_group_configs=groups).SerializeToString()
    )

    big = NodeKind("big", {"CPU": 8}, min_nodes=1, max_nodes=3)
    assert nodes.node_kinds() == (big, NodeKind("any", {"CPU": 1}, max_nodes=MANY))
