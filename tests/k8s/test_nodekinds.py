"""What the pool makes of the overlays' worker groups, where it runs as the head does there."""

from __future__ import annotations

import pytest

from cluster import nodes

from .rendering import service

pytestmark = pytest.mark.slow


def test_each_worker_group_is_a_kind_of_nodes_with_its_market_and_bounds(ours: str) -> None:
    spec = service(ours)["rayClusterConfig"]
    groups = {group["groupName"]: group for group in spec["workerGroupSpecs"]}

    found = nodes._of_resource({"metadata": {"name": "rubato", "namespace": "rubato"}, "spec": spec})

    assert found is not None
    assert [kind.name for kind in found] == list(groups)
    for kind in found:
        group = groups[kind.name]
        assert (kind.min_nodes, kind.max_nodes) == (group["minReplicas"], group["maxReplicas"])
        assert kind.market == ("spot" if "spot" in kind.name else "on_demand")
        assert kind.resources["CPU"] >= 1
        assert bool(kind.resources.get("GPU")) == ("gpu" in kind.name)


def test_the_head_may_ask_for_them(overlay: str) -> None:
    """By the service account that KubeRay makes for the head of a cluster with an autoscaler."""
    pod = service(overlay)["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]

    assert pod.get("automountServiceAccountToken") is not False
