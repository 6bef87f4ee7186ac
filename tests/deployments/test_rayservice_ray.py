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
[store]
takeover = "when_ready"
[artifacts]
url = "artifacts"
[pool]
workers = 1
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
        with ray_cluster() as cluster:
            yield cluster


def apply(settings: Path, *agents: str) -> None:
    """Hand Serve a configuration, as the operator does over Ray's API."""
    applications: list[dict[str, object]] = [{**GATEWAY, "args": {"settings": str(settings)}}]
    applications += [
        {
            "name": f"agent-{name}",
            "route_prefix": f"/v1/agents/{name}",
            "import_path": "deployments.rayservice:agent",
            "args": {"settings": str(settings), "name": name},
        }
        for name in agents
    ]
    _get_global_client().deploy_apps(ServeDeploySchema.model_validate({"applications": applications}))


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
        task = http.post("/v1/tasks", json={"agent": "echo", "input": {"text": "later"}}, headers={"Prefer": "wait=60"})

        apply(settings, "echo", "ecko")  # both builders run again
        until(lambda: is_over("agent-ecko"), seconds=120)
        until(lambda: NAME not in found(), seconds=60)

        assert "the settings have no [agents.ecko]; did you mean 'echo'?" in message("agent-ecko")
        assert before == [NAME]
        assert live.json() == {"text": "now"}
        assert (task.status_code, task.json()["output"]) == (200, {"text": "later"})
        assert ledger_pid() == first
        assert [kind["agents"] for kind in pool_status()] == [["echo"]]
        assert http.get("/readyz").status_code == 200

        status = on_the_head("status")
        kept = on_the_head("backup", settings.parent / "backup.db", "--settings", settings)
        assert (status["up"], status["ready"], status["ingress"]) == (True, True, "haproxy")
        assert status["url"] == cluster.url
        assert status["agents"]["echo"]["replicas"] == 1
        assert kept["tasks"] == {"completed": 1}
