"""That Serve does what our policy says: more replicas at a step in load, and new ones before the old ones stop."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
from ray import serve

from deployments.serving import build_gateway, deploy
from tests.raycluster import Cluster, ray_cluster

from .acting import start_greeting
from .serving_contract import built, ledger, until

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

RUN = "/v1/agents/elastic/run"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with ray_cluster() as cluster:
        ledger(cluster)
        deploy(build_gateway(start_greeting, "welcome"), {"elastic": built("elastic", cluster)})
        until(lambda: httpx.post(f"{cluster.url}{RUN}", json={"text": "0"}).status_code == 200)
        yield cluster


class Callers:
    """So many callers at once, each of whom asks again when it has its answer; what they got."""

    def __init__(self, cluster: Cluster, seconds: float) -> None:
        self.statuses: list[int] = []
        self.processes: list[str] = []
        self._url = f"{cluster.url}{RUN}"
        self._body = {"text": str(seconds)}
        self._over = threading.Event()

    @contextlib.contextmanager
    def calling(self, number: int) -> Iterator[None]:
        threads = [threading.Thread(target=self._call) for _ in range(number)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join(60)

    def _call(self) -> None:
        with httpx.Client(timeout=60) as http:
            while not self._over.is_set():
                try:
                    answer = http.post(self._url, json=self._body)
                except httpx.TransportError:  # the connection ended without an answer
                    self.statuses.append(0)
                else:
                    self.statuses.append(answer.status_code)
                    self.processes.append(answer.json().get("text", ""))


def replicas(*states: str) -> int:
    """How many there are in these states; of any but those that end where none is given."""
    counted = serve.status().applications["agent-elastic"].deployments["elastic"].replica_states
    wanted = states or ("STARTING", "UPDATING", "RECOVERING", "RUNNING")
    return sum(number for state, number in counted.items() if state in wanted)


def test_a_step_in_load_raises_the_number_of_replicas(cluster: Cluster) -> None:
    callers = Callers(cluster, seconds=0.5)
    assert replicas() == 1

    began = time.monotonic()
    with callers.calling(12):
        until(lambda: replicas() > 1, seconds=60)
        print(f"\nmore replicas {time.monotonic() - began:.1f} s after a step in load")  # noqa: T201 - a figure
        until(lambda: replicas("RUNNING") == 3, seconds=60)
        print(f"all of them running {time.monotonic() - began:.1f} s after it")  # noqa: T201
        until(lambda: len(set(callers.processes[-12:])) == 3, seconds=60)

    assert set(callers.statuses) == {200}
    told = "".join(log.read_text() for log in cluster.folder.rglob("serve/controller_*.log"))
    assert re.search(r"agent-elastic: \d replicas, of 1: .* that needs \d with 2 slots", told)


def test_new_replicas_start_before_old_ones_stop_and_no_request_fails(cluster: Cluster) -> None:
    callers = Callers(cluster, seconds=0.05)
    new = serve.RunTarget(built("elastic", cluster), "agent-elastic", "/v1/agents/elastic")
    seen = [replicas("RUNNING")]

    def replaced() -> bool:
        seen.append(replicas("RUNNING"))  # in this thread: two at once that ask Serve get into each other's way
        return not old & set(callers.processes[-20:])

    with callers.calling(4):
        until(lambda: len(callers.processes) >= 20)
        old = set(callers.processes)
        serve.run_many([new], wait_for_applications_running=False)
        until(replaced, seconds=120)

    assert set(callers.statuses) == {200}
    assert min(seen) == seen[0]
