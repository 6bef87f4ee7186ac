"""`up` on a cluster that somebody else runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import ray
from ray import serve

from cluster import raylocal
from cluster.raylocal import RayProblem
from tests.e2e.commands import house
from tests.raycluster import ray_cluster

pytestmark = [pytest.mark.ray, pytest.mark.long, pytest.mark.timeout(600)]


class Neighbour:
    """An actor of somebody else."""

    def lives(self) -> bool:
        return True


class Site:
    """An application of somebody else."""

    def __call__(self) -> str:
        return "here"


def test_up_joins_a_cluster_and_down_takes_nothing_but_its_own_off_it(tmp_path: Path) -> None:
    with ray_cluster() as cluster:
        neighbour = ray.remote(Neighbour).options(num_cpus=0, name="neighbour", namespace="other").remote()
        serve.run(serve.deployment(Site, ray_actor_options={"num_cpus": 0}).bind(), name="site", route_prefix="/site")
        auth = {name: os.environ[name] for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH")}
        with house(tmp_path, RAY_ADDRESS=ray.get_runtime_context().gcs_address, **auth) as made:
            up = made.up()
            assert up.returncode == 0, up.stderr
            assert f"http://127.0.0.1:{cluster.http}" in up.stderr
            assert made.json("run", "echo", '{"text": "now"}') == {"text": "now"}
            done = made.json("submit", "echo", '{"text": "later"}', "--wait")["task"]
            status = made.json("status")
            with pytest.raises(RayProblem, match="not the head node"):
                raylocal.check_is_head("of another node")
            second = made.up()

            made.run("down")

        names = [actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True)]
        assert done["output"] == {"text": "later"}
        assert (status["up"], status["agents"]["echo"]["replicas"]) == (True, 1)
        assert "already up" in second.stderr
        assert [name for name in names if name in ("ledger-0", "pool") or name.startswith("worker:")] == []
        assert ray.get(neighbour.lives.remote())
        assert set(serve.status().applications) == {"site"}
