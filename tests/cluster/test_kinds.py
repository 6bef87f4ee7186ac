"""Which agents share a kind of worker, and how many of it there may be."""

from __future__ import annotations

import pytest

from agents import Agent, Background, Context, Resources
from agents.catalog import Entry
from cluster.kinds import kinds


class Little(Agent[int, int]):
    """One CPU."""

    name = "little"
    background = Background(resources=Resources(cpus=1), slots=3)

    async def run(self, ctx: Context, number: int) -> int:
        return number


class Also(Little):
    """One CPU too."""

    name = "also"


class Big(Little):
    """Four CPUs and a GPU."""

    name = "big"
    background = Background(resources=Resources(cpus=4, gpus=1))


class Live(Agent[int, int]):
    """Has no background."""

    name = "live"
    background = None

    async def run(self, ctx: Context, number: int) -> int:
        return number


def entries(*agents: type[Agent[int, int]], version: str = "v") -> list[Entry]:
    return [Entry(f"m:{agent.__name__}", agent, version) for agent in agents]


def test_agents_of_one_shape_share_a_kind_and_live_ones_have_none() -> None:
    found = kinds(entries(Little, Big, Also, Live), (2, 2), 100)

    assert [(kind.name, kind.slots, kind.least, kind.most) for kind in found] == [
        ("cpu1", {"little": 3, "also": 3}, 2, 2),
        ("cpu4-gpu1", {"big": 8}, 2, 2),
    ]


def test_each_kind_knows_all_agents_that_its_runs_may_call() -> None:
    found = kinds(entries(Little, Big, Live), (2, 2), 100)

    assert [set(kind.callees) for kind in found] == [{"little", "big"}] * 2
    assert found[0].callees["big"] == found[1].callees["big"]
    assert found[0].callees["little"].max_attempts == 3


@pytest.mark.parametrize(("cpus", "counts"), [(10, [2, 2]), (5, [1, 1]), (1, [1, 1])])
def test_where_cpus_are_short_each_kind_gets_fewer_but_one_at_least(cpus: float, counts: list[int]) -> None:
    assert [kind.most for kind in kinds(entries(Little, Big), (2, 2), cpus)] == counts


def test_on_nodes_that_come_and_go_there_are_none_without_work_and_all_that_may_be_with() -> None:
    found = kinds(entries(Little, Big), (0, 50))

    assert [(kind.least, kind.most) for kind in found] == [(0, 50), (0, 50)]


def test_workers_of_another_deploy_are_of_another_kind() -> None:
    (one,), (same,) = (kinds(entries(Little), (2, 2), 9, code="a") for _ in "12")
    (code,) = kinds(entries(Little), (2, 2), 9, code="b")
    (version,) = kinds(entries(Little, version="w"), (2, 2), 9, code="a")
    (more, _) = kinds(entries(Little, Big), (2, 2), 9, code="a")  # its runs may call one more

    assert one.id == same.id
    assert len({one.id, code.id, version.id, more.id}) == 4
    assert {kind.name for kind in (one, code, version, more)} == {"cpu1"}
