"""What a RayService does with its serveConfigV2, done to a real cluster: ledger and pool come with the applications."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import ray
from ray import serve
from ray.serve.context import _get_global_client
from ray.serve.schema import ApplicationStatus, ServeDeploySchema

from cluster.actors import pool_status
from cluster.remote import LEDGER, NAMESPACE
from deployments.leaving import found
from deployments.starter import NAME
from tests.postgres import OwnServer, make_database
from tests.raycluster import ROOT, Cluster, ray_cluster

from .serving_contract import until

pytestmark = [pytest.mark.ray, pytest.mark.long, pytest.mark.timeout(300)]

SETTINGS = """
[agents.echo]
agent = "agents.library.echo:Echo"
[agents.town]
agent = "tests.deployments.acting:Town"
[store]
takeover = "when_ready"
[artifacts]
url = "artifacts"
[pool]
workers = 1
[runtime]
env = {TOWN = "Ulm"}
secrets = ["OF_THE_PODS"]
"""
GATEWAY = {"name": "gateway", "route_prefix": "/", "import_path": "deployments.rayservice:gateway"}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("settings") / "rubato.toml"
    file.write_text(SETTINGS)
    return file


@pytest.fixture(scope="module")
def cluster(own_postgres: OwnServer, settings: Path) -> Iterator[Cluster]:
    """As KubeRay leaves it to Serve: what runs on each node reads its settings from the environment."""
    with pytest.MonkeyPatch.context() as patched:
        url = asyncio.run(make_database(own_postgres, f"rayservice_{secrets.token_hex(4)}"))
        patched.setenv("RUBATO_STORE_URL", url)
        patched.setenv("RUBATO_STATE", str(settings.parent / "state"))
        patched.setenv("OF_THE_PODS", "by the Danube")
        with ray_cluster() as cluster:
            yield cluster


def apply(settings: Path, *agents: str, lacking: Path | None = None) -> None:
    """Hand Serve a configuration, as the operator does over Ray's API; `lacking` is what another agent's pods lack."""
    applications: list[dict[str, object]] = [{**GATEWAY, "args": {"settings": str(settings)}}]
    applications += [application(name, name, settings) for name in agents]
    applications += [application("lost", "echo", lacking)] if lacking else []
    _get_global_client().deploy_apps(ServeDeploySchema.model_validate({"applications": applications}))


def application(path: str, name: str, settings: Path) -> dict[str, object]:
    return {
        "name": f"agent-{path}",
        "route_prefix": f"/v1/agents/{path}",
        "import_path": "deployments.rayservice:agent",
        "args": {"settings": str(settings), "name": name},
    }


def is_over(name: str) -> bool:
    ends = (ApplicationStatus.RUNNING, ApplicationStatus.DEPLOY_FAILED)
    status = serve.status().applications.get(name)
    return status is not None and status.status in ends


def on_the_head(*arguments: str | Path) -> Any:
    """What a command prints that is given in the head's pod."""
    command = [sys.executable, "-P", "-m", "deployments.cli", *arguments, "--json"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return json.loads(subprocess.run(command, cwd="/", env=env, capture_output=True, check=True).stdout)


def message(application: str) -> str:
    return str(serve.status().applications[application].message)


def ledger_pid() -> int:
    return int(ray.get(ray.get_actor(LEDGER, namespace=NAMESPACE).pid.remote()))


def test_the_store_is_taken_when_all_applications_run_and_then_once(cluster: Cluster, settings: Path) -> None:
    apply(settings, "echo", "ecko")
    until(lambda: is_over("gateway") and is_over("agent-echo") and is_over("agent-ecko"), seconds=120)
    before = found()

    apply(settings, "echo")
    with httpx.Client(base_url=cluster.url, timeout=30) as http:
        until(lambda: http.get("/readyz").status_code == 200, seconds=60)
        until(lambda: NAME not in found(), seconds=60)
        first = ledger_pid()
        live = http.post("/v1/agents/echo/run", json={"text": "now"})
        town = http.post("/v1/tasks", json={"agent": "town", "input": ""}, headers={"Prefer": "wait=60"})
        task = http.post("/v1/tasks", json={"agent": "echo", "input": {"text": "later"}}, headers={"Prefer": "wait=60"})

        lacking = settings.with_name("lacking.toml")
        lacking.write_text(SETTINGS.replace("OF_THE_PODS", "NOT_THERE"))
        apply(settings, "echo", "ecko", lacking=lacking)  # the builders run again
        until(lambda: is_over("agent-ecko") and is_over("agent-lost"), seconds=120)
        until(lambda: NAME not in found(), seconds=60)

        assert "the settings have no [agents.ecko]; did you mean 'echo'?" in message("agent-ecko")
        assert "[runtime] secrets names NOT_THERE, which this node's environment has not" in message("agent-lost")
        assert before == [NAME]
        assert live.json() == {"text": "now"}
        assert (town.status_code, town.json()["output"]) == (200, "Ulm by the Danube")
        assert (task.status_code, task.json()["output"]) == (200, {"text": "later"})
        assert ledger_pid() == first
        assert [kind["agents"] for kind in pool_status()] == [["echo", "town"]]
        assert http.get("/readyz").status_code == 200

        status = on_the_head("status")
        kept = on_the_head("backup", settings.parent / "backup.db", "--settings", settings)
        assert (status["up"], status["ready"], status["ingress"]) == (True, True, "haproxy")
        assert status["url"] == cluster.url
        assert status["agents"]["echo"]["replicas"] == 1
        assert kept["tasks"] == {"completed": 2}
