"""Spot that cannot be had, on Ray's own autoscaler, which would go on asking for it: work does not wait for ever."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .pooling import Site, pooled

pytestmark = [pytest.mark.ray, pytest.mark.long, pytest.mark.timeout(400)]

PATIENCE = 15.0  # seconds; a node takes a third of that to come


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with pooled(tmp_path_factory.mktemp("pool"), patience=PATIENCE) as found:
        yield found


@pytest.fixture(autouse=True)
def from_nothing(site: Site) -> None:
    """Each test begins without a node."""
    site.until(site.gone)


@pytest.mark.parametrize("trouble", ["refuse", "hang"])
def test_where_spot_does_not_come_work_runs_on_demand_and_later_on_spot_again(site: Site, trouble: str) -> None:
    getattr(site.cluster, trouble)("spot")
    assert set(site.nap("nap", 0.1)) == {"cpu"}

    getattr(site.cluster, trouble)("spot", False)
    site.until(lambda: "spot" in site.nap("nap", *[2.0] * 8), patience=200)
