"""What no kind of nodes can ever hold is refused before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents import Agent, Background, Context, Realtime, Resources
from agents.catalog import Catalog, Entry
from cluster.nodekinds import NodeKind, NoSuchNode
from deployments import up
from deployments.fitting import check_fits
from deployments.phases import PhaseFailed, Phases
from deployments.settings import load
from deployments.state import StateFolder

CPU = NodeKind("cpu", {"CPU": 4})
GPU = NodeKind("gpu", {"CPU": 4, "GPU": 1}, {"ray.io/market-type": "spot"})


class Seer(Agent[int, int]):
    """Needs a GPU that nobody takes away."""

    name = "seer"
    realtime = None
    background = Background(resources=Resources(gpus=1, market="on_demand"))

    async def run(self, ctx: Context, number: int) -> int:
        return number


class Large(Agent[int, int]):
    """Too large in both modes."""

    name = "large"
    realtime = Realtime(resources=Resources(cpus=8))
    background = Background(resources=Resources(cpus=16))

    async def run(self, ctx: Context, number: int) -> int:
        return number


def catalog(*agents: type[Agent[int, int]]) -> Catalog:
    return Catalog(Entry(f"m:{agent.__name__}", agent, "v") for agent in agents)


def test_each_that_cannot_be_held_has_a_line_with_the_kinds() -> None:
    with pytest.raises(NoSuchNode) as caught:
        check_fits(catalog(Seer, Large), [CPU, GPU])

    assert str(caught.value).splitlines() == [
        "a worker of seer needs 1 GPU on an on-demand node, and no kind of node can ever hold that: "
        "cpu (has no GPU), gpu (is spot)",
        "a worker of large needs 16 CPU, and no kind of node can ever hold that: cpu (has 4 CPU), gpu (has 4 CPU)",
        "a replica of large needs 8 CPU, and no kind of node can ever hold that: cpu (has 4 CPU), gpu (has 4 CPU)",
    ]


def test_where_kinds_are_not_known_nothing_is_refused() -> None:
    check_fits(catalog(Seer, Large), [])
    check_fits(catalog(Seer), [NodeKind("gpu", price=1.0)])  # an autoscaler knows what it is


class Nobody:
    """Does not listen."""

    def begins(self, phase: str) -> None: ...

    def ends(self, phase: str, seconds: float) -> None: ...

    def says(self, phase: str, words: str) -> None: ...


def test_up_refuses_it_before_anything_starts(tmp_path: Path) -> None:
    settings = tmp_path / "rubato.toml"
    settings.write_text("[pool.kinds.tiny]\nresources = { CPU = 0.5 }\n")
    order = up.Order(StateFolder(tmp_path / "state"), load(settings, {}, {}), {}, ("agents.library.echo:Echo",))

    with pytest.raises(PhaseFailed) as caught:
        up._load(order, Phases(Nobody(), {}))

    assert str(caught.value.__cause__) == (
        "a worker of echo needs 1 CPU, and no kind of node can ever hold that: tiny (has 0.5 CPU)"
    )
