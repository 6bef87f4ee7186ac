"""`up` on a cluster that somebody else runs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import ray
from ray import serve

from cluster import raylocal
from cluster.raylocal import RayProblem
from tests.e2e.commands import house
from tests.raycluster import ray_cluster

KEY = b"CLUSTER_METADATA"  # of what Ray keeps of its cluster

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
            both = ("--only", "--agents", "agents.library.echo:Echo", "--agents", "benchmarks.agents:Steps")
            deployed = made.json("deploy", *both)
            steps = made.json("submit", "steps", '{"text": "later"}', "--wait")["task"]

            made.run("down")

        names = [actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True)]
        assert done["output"] == {"text": "later"}
        assert (status["up"], status["agents"]["echo"]["replicas"]) == (True, 1)
        assert "already up" in second.stderr
        assert (deployed["changes"], steps["state"]) == (["+ steps"], "completed")
        assert [name for name in names if name in ("ledger-0", "pool") or name.startswith("worker:")] == []
        assert ray.get(neighbour.lives.remote())
        assert set(serve.status().applications) == {"site"}


def test_a_cluster_that_cannot_be_joined_is_told_in_a_line(tmp_path: Path) -> None:
    with ray_cluster() as cluster:
        address = ray.get_runtime_context().gcs_address
        auth = {name: os.environ[name] for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH")}
        own = {"RAY_ADDRESS": address, **auth}
        kept = ray.experimental.internal_kv._internal_kv_get(KEY, namespace="cluster")

        for wrong, says in (
            ({"RAY_AUTH_MODE": "disabled"}, "asks for the token of its cluster"),
            ({"RAY_AUTH_TOKEN": "0" * 64}, "asks for the token of its cluster"),
        ):
            assert refusal(tmp_path, own | wrong).count(says) == 1
        for told, says in (({"ray_version": "2.9.3"}, "Ray 2.9.3"), ({"python_version": "3.8.1"}, "Python 3.8.1")):
            ray.experimental.internal_kv._internal_kv_put(KEY, json.dumps(told), namespace="cluster")
            assert says in refusal(tmp_path, own)
        ray.experimental.internal_kv._internal_kv_put(KEY, kept, namespace="cluster")
        assert cluster.processes()


def refusal(folder: Path, env: dict[str, str]) -> str:
    """The one line that `up` says where it cannot join."""
    with house(folder, **env) as made:
        ended = made.up()
    assert ended.returncode == 1
    lines = [line for line in ended.stderr.splitlines() if "RAY_ADDRESS" in line]
    assert len(lines) == 1, ended.stderr
    return lines[0]
