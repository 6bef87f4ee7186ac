"""What callers of a served agent may rely on, whatever stands between them and its replicas."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from ray import serve

from agents.catalog import load
from cluster.actors import HEAD, LedgerPlan, start_ledger
from cluster.stores import store_at
from deployments.serving import ReplicaPlan, build, build_gateway, deploy
from tests.raycluster import Cluster

from .acting import start_greeting
from .driving import events_in

STREAM = {"Accept": "text/event-stream"}


def built(name: str, cluster: Cluster) -> serve.Application:
    """One of the agents in acting.py."""
    reference = f"tests.deployments.acting:{name.capitalize()}"
    return build(load(reference), ReplicaPlan(reference, str(cluster.folder / "artifacts"), opens=True))


def ledger(cluster: Cluster) -> None:
    """Who is let in, replicas hear from a ledger."""
    where = str(cluster.folder / "ledger.db")
    owner = store_at(where).take(create=True)
    start_ledger(LedgerPlan(where, owner.store_id, owner.generation), HEAD)


def deploy_all(cluster: Cluster) -> list[str]:
    """A ledger, two agents and something in the place of the gateway; returns whom `deploy` told of."""
    ledger(cluster)
    told: list[str] = []
    agents = {name: built(name, cluster) for name in ("act", "warm")}
    deploy(build_gateway(start_greeting, "welcome"), agents, tell=told.append)
    return told


def until(met: Callable[[], bool], seconds: float = 30) -> None:
    ends = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < ends
        time.sleep(0.05)


def reach(http: httpx.Client) -> None:
    """Returns when the ingress leads to what was deployed."""
    until(lambda: http.get("/").text == "welcome")
    until(lambda: http.get("/v1/agents/act").status_code == 200)


class ServingContract:
    """Subclass with fixtures `cluster`, on which `deploy_all` ran, and `http`."""

    def test_an_agent_answers_at_its_route(self, http: httpx.Client) -> None:
        answer = http.post("/v1/agents/act/run", json={"text": "over the wire"})

        assert (answer.status_code, answer.json()) == (200, {"text": "over the wire"})
        assert answer.headers["task-id"]
        assert http.get("/v1/agents/act").json()["name"] == "act"

    def test_the_gateway_has_every_other_route(self, http: httpx.Client) -> None:
        assert http.get("/v1/agents/nobody").text == "welcome"

    def test_what_leads_nowhere_under_an_agent_is_a_problem(self, http: httpx.Client) -> None:
        for method, path in (("POST", "/v1/agents/act/runs"), ("GET", "/v1/agents/act/run")):
            answer = http.request(method, path)

            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["status"] == answer.status_code

    def test_a_bad_body_is_a_problem(self, http: httpx.Client) -> None:
        assert http.post("/v1/agents/act/run", content=b"{").json()["status"] == 400
        assert http.post("/v1/agents/act/run", json={"colour": "red"}).json()["status"] == 422
        assert http.post("/v1/agents/act/run", content=b" " * (1024 * 1024 + 1)).json()["status"] == 413

    def test_a_replica_is_ready_only_when_it_was_set_up_once(self, http: httpx.Client) -> None:
        assert http.post("/v1/agents/warm/run", json={}).json() == {"text": "1"}

    def test_events_come_while_the_run_goes_on(self, http: httpx.Client) -> None:
        body = {"do": "wait_between", "text": "1"}

        with http.stream("POST", "/v1/agents/act/run", json=body, headers=STREAM) as stream:
            came = [(time.monotonic(), chunk) for chunk in stream.iter_bytes()]

        assert came[-1][0] - came[0][0] > 0.8
        types = [event["type"] for event in events_in(b"".join(chunk for _, chunk in came))]
        assert types == ["attempt.started", "progress", "output"]

    @pytest.mark.parametrize("headers", [{}, STREAM], ids=["json", "stream"])
    def test_a_caller_who_leaves_cancels_the_run(
        self, cluster: Cluster, tmp_path: Path, headers: dict[str, str]
    ) -> None:
        left = tmp_path / "left"

        with pytest.raises(httpx.ReadTimeout):
            httpx.post(
                f"{cluster.url}/v1/agents/act/run",
                content=json.dumps({"do": "sleep", "text": str(left)}),
                headers=headers,
                timeout=1,
            ).raise_for_status()

        until(left.exists, seconds=2)  # after 4 the deadline would have come

    def test_plain_steps_keep_nobody_waiting(self, cluster: Cluster) -> None:
        async def run() -> float:
            async with httpx.AsyncClient(base_url=cluster.url, timeout=30) as client:
                naps = [client.post("/v1/agents/act/run", json={"do": "nap", "text": "2"}) for _ in range(20)]
                napping = [asyncio.ensure_future(nap) for nap in naps]
                await asyncio.sleep(0.5)
                started = time.monotonic()
                assert (await client.post("/v1/agents/act/run", json={"text": "quick"})).status_code == 200
                quick = time.monotonic() - started
                assert [(await nap).status_code for nap in napping] == [200] * 20
                return quick

        assert asyncio.run(run()) < 1

    def test_the_deadline_does_not_wait_for_a_plain_step(self, http: httpx.Client) -> None:
        started = time.monotonic()

        answer = http.post("/v1/agents/act/run", json={"do": "nap", "text": "8"})

        assert answer.json()["type"] == "/problems/deadline"
        assert answer.status_code == 504
        assert time.monotonic() - started < 7
