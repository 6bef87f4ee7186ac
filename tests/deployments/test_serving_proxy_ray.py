"""That agents are served alike where there is no HAProxy, through the proxy that Serve brings."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.raycluster import Cluster, ray_cluster

from .serving_contract import ServingContract, deploy_all, reach

pytestmark = [pytest.mark.ray, pytest.mark.long, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with ray_cluster(with_haproxy=False) as cluster:
        deploy_all(cluster)
        yield cluster


@pytest.fixture
def http(cluster: Cluster) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=cluster.url, timeout=30) as client:
        reach(client)
        yield client


class TestServing(ServingContract):
    """Through Serve's own proxy."""
