"""That Serve, as we start it, serves agents and gateway: ready when set up, on loopback only, each apart."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import grpc  # type: ignore[import-untyped]
import httpx
import psutil
import pytest

from agents.catalog import load
from deployments.ingress import is_free
from deployments.serving import NotDeployed, build, build_gateway, deploy
from tests.raycluster import Cluster, ray_cluster

from .acting import start_greeting
from .driving import events_in

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

STREAM = {"Accept": "text/event-stream"}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two agents and a gateway. Only what can be told apart from outside is asked of it."""
    with ray_cluster() as cluster:
        agents = {name: _build(name, cluster) for name in ("act", "warm")}
        told: list[str] = []
        deploy(build_gateway(start_greeting, "welcome"), agents, tell=told.append)
        assert sorted(told) == ["agent-act", "agent-warm", "gateway"]
        yield cluster
        left = cluster.processes()
    assert left
    assert psutil.wait_procs(left, timeout=5)[1] == []
    assert not cluster.folder.exists()


@pytest.fixture
def http(cluster: Cluster) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=cluster.url, timeout=30) as client:
        _until(lambda: client.get("/").text == "welcome")
        _until(lambda: client.get("/v1/agents/act").status_code == 200)
        yield client


def _build(name: str, cluster: Cluster) -> object:
    return build(load(f"tests.deployments.acting:{name.capitalize()}"), str(cluster.folder / "artifacts"))


def _until(met: object, seconds: float = 30) -> None:
    ends = time.monotonic() + seconds
    while not met():  # type: ignore[operator]
        assert time.monotonic() < ends
        time.sleep(0.05)


def _replicas(cluster: Cluster) -> list[psutil.Process]:
    return [process for process in cluster.processes() if "ServeReplica" in _title(process)]


def _title(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.NoSuchProcess):
        return " ".join(process.cmdline())
    return ""


def _listening(cluster: Cluster) -> list[tuple[str, str, int]]:
    """Every listener of the cluster: its process, address and port."""
    found = []
    for process in cluster.processes():
        with contextlib.suppress(psutil.NoSuchProcess):
            listeners = [socket for socket in process.net_connections("tcp") if socket.status == psutil.CONN_LISTEN]
            found += [(_title(process), socket.laddr.ip, socket.laddr.port) for socket in listeners]
    return found


def test_an_agent_answers_at_its_route(http: httpx.Client) -> None:
    answer = http.post("/v1/agents/act/run", json={"text": "over the wire"})

    assert (answer.status_code, answer.json()) == (200, {"text": "over the wire"})
    assert answer.headers["task-id"]
    assert http.get("/v1/agents/act").json()["name"] == "act"


def test_the_gateway_has_every_other_route(http: httpx.Client) -> None:
    assert http.get("/v1/agents/nobody").text == "welcome"


def test_what_leads_nowhere_under_an_agent_is_a_problem(http: httpx.Client) -> None:
    for method, path in (("POST", "/v1/agents/act/runs"), ("GET", "/v1/agents/act/run")):
        answer = http.request(method, path)

        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == answer.status_code


def test_a_bad_body_is_a_problem(http: httpx.Client) -> None:
    assert http.post("/v1/agents/act/run", content=b"{").json()["status"] == 400
    assert http.post("/v1/agents/act/run", json={"colour": "red"}).json()["status"] == 422
    assert http.post("/v1/agents/act/run", content=b" " * (1024 * 1024 + 1)).json()["status"] == 413


def test_a_replica_is_ready_only_when_it_was_set_up_once(http: httpx.Client) -> None:
    assert http.post("/v1/agents/warm/run", json={}).json() == {"text": "1"}


def test_events_come_while_the_run_goes_on(http: httpx.Client) -> None:
    body = {"do": "wait_between", "text": "1"}

    with http.stream("POST", "/v1/agents/act/run", json=body, headers=STREAM) as stream:
        came = [(time.monotonic(), chunk) for chunk in stream.iter_bytes()]

    assert came[-1][0] - came[0][0] > 0.8
    types = [event["type"] for event in events_in(b"".join(chunk for _, chunk in came))]
    assert types == ["attempt.started", "progress", "output"]


@pytest.mark.parametrize("headers", [{}, STREAM], ids=["json", "stream"])
def test_a_caller_who_leaves_cancels_the_run(cluster: Cluster, tmp_path: Path, headers: dict[str, str]) -> None:
    left = tmp_path / "left"

    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{cluster.url}/v1/agents/act/run",
            content=json.dumps({"do": "sleep", "text": str(left)}),
            headers=headers,
            timeout=1,
        ).raise_for_status()

    _until(left.exists, seconds=2)  # after 4 the deadline would have come


def test_plain_steps_keep_nobody_waiting(cluster: Cluster) -> None:
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


def test_all_that_listens_listens_on_loopback(cluster: Cluster, http: httpx.Client) -> None:
    """But for one port in each replica: Serve binds it to every interface, and it asks for the cluster's token."""
    loopback = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    listening = _listening(cluster)

    ports = {port: address for _, address, port in listening}
    elsewhere = [(title, port) for title, address, port in listening if address not in loopback]
    mine = cluster.ports
    assert {ports[port] for port in (cluster.http, mine.stats, mine.metrics, mine.fallback)} == {"127.0.0.1"}
    assert len(elsewhere) == len(_replicas(cluster)) == 3
    for title, port in elsewhere:
        assert "ServeReplica" in title
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel, pytest.raises(grpc.RpcError) as refused:
            channel.unary_unary("/ray.serve.ASGIService/HandleRequest")(b"", timeout=10)
        assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED


def test_the_ports_of_one_cluster_are_not_offered_to_another(cluster: Cluster) -> None:
    mine = cluster.ports
    assert not any(is_free(port) for port in (cluster.http, mine.stats, mine.metrics, mine.fallback))


def test_an_agent_that_cannot_be_set_up_says_why_and_the_others_go_on(cluster: Cluster, http: httpx.Client) -> None:
    with http.stream("POST", "/v1/agents/act/run", json={"do": "wait_between", "text": "4"}, headers=STREAM) as stream:
        with pytest.raises(NotDeployed) as refused:
            deploy(None, {"broken": _build("broken", cluster)})
        told = b"".join(stream.iter_bytes())

    assert list(refused.value.reasons) == ["agent-broken"]
    assert "OSError: the model file is damaged" in str(refused.value)
    assert events_in(told)[-1]["type"] == "output"
    assert http.post("/v1/agents/warm/run", json={}).status_code == 200


def test_a_replica_that_dies_comes_back(cluster: Cluster, http: httpx.Client) -> None:
    [act] = [process for process in _replicas(cluster) if "agent-act" in _title(process)]

    os.kill(act.pid, signal.SIGKILL)

    _until(lambda: not act.is_running() or act.status() == psutil.STATUS_ZOMBIE)
    _until(lambda: _status(http) == 200, seconds=60)


def _status(http: httpx.Client) -> int:
    """0 where the connection ends without an answer, as that to a process that dies does."""
    try:
        return http.post("/v1/agents/act/run", json={"text": "back"}).status_code
    except httpx.TransportError:
        return 0
