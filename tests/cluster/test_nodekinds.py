"""Which nodes can hold which workers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import pytest

from agents import Resources
from cluster.nodekinds import (
    MANY,
    NodeKind,
    NoSuchNode,
    asked,
    check_fit,
    fits,
    kind_of,
    known,
    misfit,
    priced,
    room,
    selector,
    suitable,
    there,
)

SPOT = {"ray.io/market-type": "spot"}
ON_DEMAND = {"ray.io/market-type": "on-demand"}
A100 = {"ray.io/accelerator-type": "A100"}


class Node(NamedTuple):
    """One that is there."""

    resources: Mapping[str, float]
    labels: Mapping[str, str]


CPU = NodeKind("cpu", {"CPU": 8, "memory": 16 * 2**30}, ON_DEMAND, price=0.4, max_nodes=4)
BARE = NodeKind("bare", {"CPU": 2})
CHEAP = NodeKind("cheap", {"CPU": 8, "licence": 2}, SPOT | {"ray.io/availability-zone": "a"}, price=0.1)
GPU = NodeKind("gpu", {"CPU": 8, "GPU": 2}, SPOT | A100, price=2.0)
ALL = (CPU, BARE, CHEAP, GPU)


@pytest.mark.parametrize(
    ("shape", "names"),
    [
        (Resources(cpus=1), ["cpu", "bare", "cheap"]),
        (Resources(cpus=4), ["cpu", "cheap"]),
        (Resources(cpus=9), []),
        (Resources(), ["cpu", "bare", "cheap"]),
        (Resources(memory=2**30), ["cpu"]),
        (Resources(memory=2**40), []),
        (Resources(gpus=0.5), ["gpu"]),
        (Resources(gpus=2), ["gpu"]),
        (Resources(gpus=3), []),
        (Resources(cpus=1, market="spot"), ["cheap"]),
        (Resources(cpus=1, market="on_demand"), ["cpu", "bare"]),
        (Resources(gpus=1, market="on_demand"), []),
        (Resources(gpus=1, accelerator="A100"), ["gpu"]),
        (Resources(gpus=1, accelerator="H100"), []),
        (Resources(custom={"licence": 2}), ["cheap"]),
        (Resources(custom={"licence": 3}), []),
        (Resources(labels={"ray.io/availability-zone": "in(a, b)"}), ["cheap"]),
        (Resources(labels={"ray.io/availability-zone": "!a"}), ["cpu", "bare"]),
        (Resources(labels={"ray.io/availability-zone": "b"}), []),
    ],
)
def test_a_worker_goes_to_nodes_that_have_what_it_asks_for(shape: Resources, names: list[str]) -> None:
    assert [kind.name for kind in suitable(shape, ALL)] == names


def test_work_without_a_gpu_goes_to_nodes_with_one_only_where_there_are_no_others() -> None:
    assert fits(Resources(cpus=1), GPU)
    assert suitable(Resources(cpus=1), [CPU, GPU]) == [CPU]
    assert suitable(Resources(cpus=1), [GPU]) == [GPU]


def test_a_node_without_a_market_label_counts_as_on_demand() -> None:
    assert (BARE.market, CPU.market, CHEAP.market) == ("on_demand", "on_demand", "spot")


@pytest.mark.parametrize(
    ("shape", "holds"),
    [
        (Resources(cpus=1), 8),
        (Resources(cpus=3), 2),
        (Resources(cpus=0.1), 80),
        (Resources(cpus=9), 0),
        (Resources(cpus=1, memory=4 * 2**30), 4),
        (Resources(gpus=1), 0),
        (Resources(), MANY),
    ],
)
def test_a_node_holds_what_it_has_room_for(shape: Resources, holds: int) -> None:
    assert room(shape, CPU.resources) == holds


def test_what_no_kind_can_ever_hold_is_refused_with_what_each_lacks() -> None:
    with pytest.raises(NoSuchNode) as caught:
        check_fit("agent 'big'", Resources(cpus=4, gpus=1, market="on_demand"), ALL)

    assert str(caught.value) == (
        "agent 'big' needs 4 CPU, 1 GPU on an on-demand node, and no kind of node can ever hold that: "
        "cpu (has no GPU), bare (has 2 CPU), cheap (has no GPU), gpu (is spot)"
    )


def test_what_some_kind_can_hold_is_not_refused_nor_is_anything_where_no_kinds_are_known() -> None:
    check_fit("agent 'x'", Resources(gpus=2), ALL)
    check_fit("agent 'x'", Resources(gpus=1000), ())


def test_a_kind_of_which_there_may_be_no_nodes_holds_nothing() -> None:
    assert misfit(Resources(), NodeKind("none", {"CPU": 1}, max_nodes=0)) == "may have no nodes"


def test_bounds_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="node kind 'x': 0 <= min_nodes <= max_nodes"):
        NodeKind("x", min_nodes=2, max_nodes=1)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        (Resources(), "nothing of a node"),
        (Resources(cpus=1), "1 CPU"),
        (Resources(gpus=0.5, market="spot"), "0.5 GPU on a spot node"),
        (
            Resources(cpus=1, accelerator="A100", labels={"zone": "a"}),
            "1 CPU on a node with zone=a, ray.io/accelerator-type=A100",
        ),
    ],
)
def test_a_shape_is_told_in_words(shape: Resources, words: str) -> None:
    assert asked(shape) == words


def test_a_worker_finds_its_node_by_labels() -> None:
    shape = Resources(gpus=1, accelerator="A100", labels={"zone": "in(a, b)"}, market="spot")

    assert selector(Resources(cpus=1)) == {}
    assert selector(Resources(cpus=1), BARE) == {"ray.io/market-type": "!spot"}
    assert selector(Resources(cpus=1), CPU) == ON_DEMAND
    assert selector(Resources(cpus=1, market="on_demand")) == {"ray.io/market-type": "!spot"}
    assert selector(shape) == SPOT | A100 | {"zone": "in(a, b)"}
    assert selector(shape, NodeKind("z", {}, SPOT | A100 | {"zone": "b"})) == SPOT | A100 | {"zone": "b"}


def test_nodes_that_are_there_are_kinds_that_neither_grow_nor_shrink() -> None:
    one = Node({"CPU": 4, "node:10.0.0.1": 1, "object_store_memory": 1}, {"ray.io/node-id": "x"})
    two = Node({"CPU": 4, "node:10.0.0.2": 1, "object_store_memory": 2}, {"ray.io/node-id": "y"})
    other = Node({"CPU": 4, "GPU": 1}, SPOT)

    assert there([one, two]) == [NodeKind("here", {"CPU": 4}, min_nodes=2, max_nodes=2)]
    assert there([one, two, other]) == [
        NodeKind("here-1", {"CPU": 4}, min_nodes=2, max_nodes=2),
        NodeKind("here-2", {"CPU": 4, "GPU": 1}, SPOT, min_nodes=1, max_nodes=1),
    ]


def test_a_node_is_of_the_kind_that_its_group_names_or_that_it_is_most_like() -> None:
    named = Node({"CPU": 1}, {"ray.io/node-group": "gpu"})
    like = Node({"CPU": 8, "licence": 2, "memory": 1}, dict(CHEAP.labels))
    head = Node({"CPU": 1}, {"ray.io/node-group": "head"})

    assert kind_of(named, ALL) == GPU
    assert kind_of(like, ALL) == CHEAP
    assert kind_of(head, ALL) is None
    assert [kind.name for kind in known(ALL, [named, like, head])] == ["cpu", "bare", "cheap", "gpu", "here"]


def test_prices_are_told_and_all_else_is_the_autoscalers_where_there_is_one() -> None:
    found = NodeKind("cpu", {"CPU": 2}, max_nodes=3)

    assert priced([found, BARE], [CPU, GPU]) == [NodeKind("cpu", {"CPU": 2}, price=0.4, max_nodes=3), BARE]
    assert priced(None, [CPU, NodeKind("other", price=1.0)]) == [CPU]
