"""The elastic pool on Ray's own autoscaler: nodes of the right kind come with the work, and go with it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cluster.actors import pool_status

from .pooling import Site, pooled

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with pooled(tmp_path_factory.mktemp("pool"), patience=120) as found:
        yield found


@pytest.fixture(autouse=True)
def from_nothing(site: Site) -> None:
    """Each test begins without a node."""
    site.until(site.gone)


def test_from_nothing_to_many_and_back_to_nothing(site: Site) -> None:
    kinds = site.nap("nap", *[1.0] * 200)

    assert set(kinds) == {"spot"}  # what has no deadline goes there first
    assert not site.cluster.machines("gpu")
    site.until(site.gone)
    assert {line["wanted"] for line in pool_status()} == {0}


@pytest.mark.long
def test_what_needs_a_gpu_runs_on_one_and_nothing_else_starts_one(site: Site) -> None:
    assert set(site.nap("render", 0.1, 0.1)) == {"gpu"}
    assert not site.cluster.machines("cpu")
    assert not site.cluster.machines("spot")

    site.until(site.gone)
    assert set(site.nap("nap", 0.1)) == {"spot"}
    assert not site.cluster.machines("gpu")


@pytest.mark.long
def test_a_task_whose_steps_need_both_uses_both(site: Site) -> None:
    ((thought, drawn, told),) = site.nap("both", 0.1)

    assert drawn == "gpu"
    assert {thought, told} == {"spot"}
