"""That Serve, as we start it, serves agents and gateway: through HAProxy, on loopback only, each apart."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

import grpc  # type: ignore[import-untyped]
import httpx
import psutil
import pytest
import ray

from deployments.ingress import is_free
from deployments.serving import NotDeployed, deploy
from tests.processes import title_of
from tests.raycluster import Cluster, ray_cluster

from .driving import events_in
from .serving_contract import STREAM, ServingContract, built, deploy_all, reach, until

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with ray_cluster() as cluster:
        assert sorted(deploy_all(cluster)) == ["agent-act", "agent-warm", "gateway"]
        yield cluster
        left = cluster.processes()
    assert left
    assert psutil.wait_procs(left, timeout=5)[1] == []
    assert not cluster.folder.exists()


@pytest.fixture
def http(cluster: Cluster) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=cluster.url, timeout=30) as client:
        reach(client)
        yield client


class TestServing(ServingContract):
    """Through HAProxy."""


def _replicas(cluster: Cluster, agent: str = "") -> list[psutil.Process]:
    title = f"ServeReplica:agent-{agent}" if agent else "ServeReplica"
    return [process for process in cluster.processes() if title in title_of(process)]


def _listening(cluster: Cluster) -> list[tuple[str, str, int]]:
    """Every listener of the cluster: its process, address and port."""
    found = []
    for process in cluster.processes():
        with contextlib.suppress(psutil.NoSuchProcess):
            listeners = [socket for socket in process.net_connections("tcp") if socket.status == psutil.CONN_LISTEN]
            found += [(title_of(process), socket.laddr.ip, socket.laddr.port) for socket in listeners]
    return found


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


@pytest.mark.parametrize("path", ["/", "/v1/agents/act", "/v1/agents/act/nowhere"])
def test_requests_take_the_short_way_past_serve(http: httpx.Client, path: str) -> None:
    """Which gives an id to each that has none. Also the test that notices where Serve counts its requests elsewhere."""
    assert "x-request-id" not in http.get(path).headers


def test_a_stream_ends_its_connection_and_an_answer_keeps_it(http: httpx.Client) -> None:
    """Also the test that notices where Serve calls HAProxy's frontend otherwise."""
    body = {"do": "answer", "text": "1"}
    stream, answer = (http.post("/v1/agents/act/run", json=body, headers=headers) for headers in (STREAM, {}))

    assert stream.headers["connection"] == "close"
    assert "connection" not in answer.headers


def test_the_ports_of_one_cluster_are_not_offered_to_another(cluster: Cluster) -> None:
    mine = cluster.ports
    assert not any(is_free(port) for port in (cluster.http, mine.stats, mine.metrics, mine.fallback))


def test_a_new_version_takes_over_without_a_failed_request(cluster: Cluster, http: httpx.Client) -> None:
    statuses: list[int] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            with httpx.Client(base_url=cluster.url, timeout=30) as fresh:
                statuses.extend((_status(fresh), _status(http)))

    callers = [threading.Thread(target=ask) for _ in range(3)]
    for caller in callers:
        caller.start()
    [before] = _replicas(cluster, "act")

    deploy(None, {"act": built("act", cluster)})
    until(lambda: not before.is_running() or before.status() == psutil.STATUS_ZOMBIE)

    over.set()
    for caller in callers:
        caller.join()
    assert set(statuses) == {200}


def test_an_agent_that_cannot_be_set_up_says_why_and_the_others_go_on(cluster: Cluster, http: httpx.Client) -> None:
    with http.stream("POST", "/v1/agents/act/run", json={"do": "wait_between", "text": "4"}, headers=STREAM) as stream:
        with pytest.raises(NotDeployed) as refused:
            deploy(None, {"broken": built("broken", cluster)})
        told = b"".join(stream.iter_bytes())

    reason = "tests.deployments.acting:Broken: its setup() raised OSError: the model file is damaged"
    assert refused.value.reasons == {"agent-broken": reason}
    assert "in setup" in refused.value.details["agent-broken"]
    assert events_in(told)[-1]["type"] == "output"
    assert http.post("/v1/agents/warm/run", json={}).status_code == 200


def test_a_replica_that_dies_comes_back(cluster: Cluster, http: httpx.Client) -> None:
    [act] = _replicas(cluster, "act")

    os.kill(act.pid, signal.SIGKILL)

    until(lambda: not act.is_running() or act.status() == psutil.STATUS_ZOMBIE)
    until(lambda: _status(http) == 200, seconds=60)


def _status(http: httpx.Client) -> int:
    """0 where the connection ends without an answer, as that to a process that dies does."""
    try:
        return http.post("/v1/agents/act/run", json={"text": "still there?"}).status_code
    except httpx.TransportError:
        return 0


def test_each_answer_is_in_the_metrics_of_the_node(cluster: Cluster, http: httpx.Client) -> None:
    http.post("/v1/agents/act/run", json={"text": "counted"}).raise_for_status()
    (node,) = ray.nodes()
    exported = f"http://127.0.0.1:{node['MetricsExportPort']}/metrics"

    def told(*parts: str) -> bool:
        return bool(found(*parts))

    def found(*parts: str) -> list[float]:
        lines = httpx.get(exported).text.splitlines()
        return [float(line.rpartition(" ")[2]) for line in lines if all(part in line for part in parts)]

    answers = "ray_rubato_realtime_seconds_count{", 'agent="act"', 'answer="full"'
    until(lambda: told(*answers))
    before = sum(found(*answers))
    for _ in range(50):
        http.post("/v1/agents/act/run", json={"text": "counted"}).raise_for_status()
    until(lambda: sum(found(*answers)) >= before + 50)
    until(lambda: told("ray_rubato_realtime_replica_starts_total{", 'agent="act"'))
    until(lambda: told("ray_rubato_realtime_runs{", 'agent="act"'))
