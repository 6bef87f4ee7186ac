"""Real replicas under load that are killed, drained and replaced, and a ledger that stands still: who notices."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest
import ray
from ray import serve

from agents.catalog import load
from agents.ids import new_id
from cluster import processes
from cluster.apikeys import SCOPES, ApiKey, digest_of, new_text, write_scopes
from cluster.remote import LEDGER, Remote, RemoteLedger
from cluster.task import Filter
from deployments.serving import ReplicaPlan, build, build_gateway, deploy
from tests.deployments.acting import start_greeting
from tests.processes import title_of
from tests.raycluster import Cluster, ray_cluster

from .answerers import begun
from .background import Background, background
from .load import CUT_OFF, Load
from .nodes import SecondNode, second_node
from .troubles import locked

pytestmark = [pytest.mark.ray, pytest.mark.timeout(120)]

Loaded = Callable[..., Load]
Trouble = Callable[[Background, int], AbstractContextManager[None]]

AGENTS = {name: f"tests.faults.answerers:{name.capitalize()}" for name in ("answerer", "guest")}
REPLICAS = 2
SECONDS = 60.0
ASYNC = {"Prefer": "respond-async, wait=0.5"}
RUNNING = 100  # requests on it when its drain begins
STILL = 7.0  # seconds for which the ledger stands still: longer than a key that was revoked may be good
NOTICED = 1.0  # seconds in which HAProxy knows of a replica that is no more
BROKEN = {CUT_OFF, 500, 502, 503}  # what a request gets whose replica dies


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with ray_cluster() as cluster:  # with the drain that everybody has
        yield cluster


@pytest.fixture(scope="module")
def rubato(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Background]:
    with background(tmp_path_factory.mktemp("state"), list(AGENTS.values()), orphaned_after=60) as found:
        yield found


@pytest.fixture(scope="module")
def key(rubato: Background) -> dict[str, str]:
    """The header that lets a caller in: nobody else is, by a replica that starts from now on."""
    id = new_id()
    text = new_text(id)
    made = ApiKey("", id, "load", write_scopes(frozenset(SCOPES)), digest_of(text.encode()), time.time())
    asyncio.run(RemoteLedger().add_key(made))
    deploy(build_gateway(start_greeting, "welcome"), {"answerer": app(rubato.folder, "answerer")})
    return {"Authorization": f"Bearer {text}"}


@dataclass
class Homes:
    """Nodes for the guest: it is on one of them, and leaves it for another."""

    bring: Callable[[], SecondNode]
    node: SecondNode

    def leave(self) -> SecondNode:
        """The node where it is, once there is another."""
        left, self.node = self.node, self.bring()
        return left


@pytest.fixture(scope="module")
def homes(cluster: Cluster, rubato: Background, key: dict[str, str]) -> Iterator[Homes]:
    with ExitStack() as stack:

        def bring() -> SecondNode:
            return stack.enter_context(second_node(cluster, REPLICAS))

        homes = Homes(bring, bring())
        deploy(None, {"guest": app(rubato.folder, "guest")})
        asyncio.run(until_it_answers(cluster, "guest", key))
        yield homes


@pytest.fixture
async def loaded(cluster: Cluster, rubato: Background, key: dict[str, str], tmp_path: Path) -> AsyncIterator[Loaded]:
    """Makes a load on an agent, by the dice of a seed; what there was is printed."""
    await rubato.until_ready(2)
    await until_it_answers(cluster, "answerer", key)
    seed = int(os.environ.get("RUBATO_SEED") or secrets.randbits(32))
    print(f"RUBATO_SEED={seed}")
    made: list[Load] = []

    def make(agent: str = "answerer", *, keyed: bool = False) -> Load:
        name = f"{agent}-{len(made)}"
        made.append(Load(cluster.url, agent, tmp_path / name, key, random.Random(f"{seed} {name}"), keyed=keyed))
        return made[-1]

    yield make
    for each in made:
        print(each.told())


def app(folder: Path, agent: str) -> serve.Application:
    """A new version of it, each time."""
    return build(load(AGENTS[agent]), ReplicaPlan(AGENTS[agent], str(folder / "artifacts")))


async def until_it_answers(cluster: Cluster, agent: str, key: dict[str, str]) -> None:
    async with asyncio.timeout(SECONDS), httpx.AsyncClient(base_url=cluster.url, headers=key) as http:
        while (await http.get(f"/v1/agents/{agent}")).status_code != 200 or len(replicas(cluster, agent)) < REPLICAS:
            await asyncio.sleep(0.1)


def replicas(cluster: Cluster, agent: str = "answerer") -> set[int]:
    """The processes of those that there are, the ones that end among them."""
    return {
        process.pid for process in processes.marked(cluster.id) if f"ServeReplica:agent-{agent}:" in title_of(process)
    }


def has_ended(pid: int) -> bool:
    """Whether all that the process had open is closed: what it was called is lost some time before."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def serving(agent: str) -> int:
    """How many replicas take requests."""
    states = serve.status().applications[f"agent-{agent}"].deployments[agent].replica_states
    return sum(number for state, number in states.items() if state in ("RUNNING", "PENDING_MIGRATION"))


async def ongoing(agent: str) -> int:
    """How many requests Serve believes to be in the replicas: it waits for them before it ends one."""
    found = ray.util.list_named_actors(all_namespaces=True)
    names = [each["name"] for each in found if each["name"].startswith(f"SERVE_REPLICA::agent-{agent}#")]
    handles = [ray.get_actor(name, namespace="serve") for name in names]
    return sum([await handle.get_num_ongoing_requests.remote() for handle in handles])


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():
            await asyncio.sleep(0.1)


async def more(load: Load) -> None:
    """A hundred more answers."""
    before = len(load.calls)
    await until(lambda: len(load.calls) >= before + 100)


def places(load: Load) -> dict[str, list[int]]:
    """In which processes the run of each request began, one after the other."""
    found: dict[str, list[int]] = {}
    for name, pid in begun(load.trace):
        found.setdefault(name, []).append(pid)
    return found


async def answerers(rubato: Background) -> set[str]:
    """The ids of all tasks of the agent."""
    return {task.id for task in await rubato.ledger.tasks("", Filter(agent="answerer"), None, 200)}


@contextmanager
def paused(
    rubato: Background, pid: int, then: Callable[[psutil.Process], None] = psutil.Process.resume
) -> Iterator[None]:
    """The ledger stands still, and goes on."""
    process = psutil.Process(pid)
    process.suspend()
    try:
        yield
    finally:
        then(process)


def dead(rubato: Background, pid: int) -> AbstractContextManager[None]:
    """The ledger stands still, is killed, and starts again."""
    return paused(rubato, pid, psutil.Process.kill)


@contextmanager
def mute(rubato: Background, pid: int) -> Iterator[None]:
    """The ledger hears all, and can write nothing for a while."""
    with locked(rubato.folder / "ledger.db"):
        yield


async def test_who_kills_a_replica_breaks_the_requests_that_are_in_it_and_no_other(
    loaded: Loaded, cluster: Cluster
) -> None:
    load = loaded(keyed=True)
    async with load.going(short=8, long=4):
        await until(lambda: load.latest() == replicas(cluster))
        victim = max(load.latest())
        killed = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        await until(lambda: has_ended(victim))
        gone = time.monotonic() + NOTICED
        await until(lambda: len(load.latest() - {victim}) == REPLICAS)
        await more(load)

    broken, began = load.failed(), places(load)
    print(f"broken: {len(broken)}, {sum(began[call.name][0] == victim for call in broken)} of which had begun")
    for call in broken:
        print(
            f"  {call.name} {call.tries}: began {call.began - killed:+.3f} s, broke {call.ended - killed:+.3f} s",
            call.said,
        )
    print(f"  gone {gone - killed:+.3f} s")
    assert 1 <= len(broken) <= 12, "each caller had one in it at most"
    assert {call.tries[0] for call in broken} <= BROKEN
    assert [call.tries[1:] for call in broken] == [[200]] * len(broken), "asked again with its key each is answered"
    assert all(call.began < gone and killed < call.ended for call in broken)
    assert all(len(began[call.name]) == 1 or began[call.name][0] == victim for call in broken)


async def test_a_new_version_under_load_takes_over_without_a_failed_request(
    loaded: Loaded, cluster: Cluster, rubato: Background
) -> None:
    load, resting, old = loaded(), loaded(), replicas(cluster)

    async with resting.resting(4), load.going(short=6, long=4, streams=3):
        await until(lambda: load.latest() == old)
        await asyncio.to_thread(deploy, None, {"answerer": app(rubato.folder, "answerer")})
        await until(lambda: old.isdisjoint(replicas(cluster)))
        await more(load)

    assert await ongoing("answerer") == 0
    assert load.failed() == resting.failed() == []
    assert len(load.latest() - old) == REPLICAS
    assert {call.pid for call in resting.calls[4:]} <= replicas(cluster) - old


@pytest.mark.parametrize(
    ("trouble", "seconds"), [(paused, STILL), (dead, 0.0), pytest.param(mute, 0.0, marks=pytest.mark.long)]
)
async def test_while_the_ledger_is_away_answers_go_on_and_what_must_be_a_task_is_one_or_none(
    loaded: Loaded, cluster: Cluster, rubato: Background, trouble: Trouble, seconds: float
) -> None:
    plain, keyed, leaving, asking_again = loaded(), loaded(keyed=True), loaded(), loaded(keyed=True)
    pid = await Remote(LEDGER).call("pid", patience=SECONDS)
    async with plain.going(short=4), keyed.going(short=2), asyncio.TaskGroup() as group:
        with trouble(rubato, pid):
            ends = time.monotonic() + seconds
            again = group.create_task(asking_again.many(4, (1.0, 2.0), **ASYNC))
            late = group.create_task(leaving.many(8, (6.0, 8.0), Prefer="respond-async, wait=1"))  # in the next commit
            unsure = [*await leaving.many(4, (6.0, 8.0), **ASYNC), *await late]
            async with httpx.AsyncClient(base_url=cluster.url, timeout=60) as http:
                stranger = await http.post("/v1/agents/answerer/run", headers={"Authorization": "Bearer wrong"})
            await until(lambda: time.monotonic() > ends)
        await Remote(LEDGER).call("pid", patience=SECONDS)
        sure = await leaving.many(4, (1.0, 2.0), **ASYNC)

    assert (plain.failed(), keyed.failed(), stranger.status_code) == ([], [], 401)
    assert [call.tries for call in unsure] == [[503]] * len(unsure)
    assert [call.tries for call in sure] == [[202]] * len(sure)
    assert {(call.tries[0], call.tries[-1]) for call in again.result()} <= {(503, 202), (503, 200)}
    there = await answerers(rubato)
    lost = {call.task_id for call in unsure} - there
    print(f"{len(unsure) - len(lost)} of {len(unsure)} that were not confirmed are tasks")
    assert {call.task_id for call in [*sure, *again.result()]} <= there
    assert {(task.state, task.attempts) for task in await rubato.ended(sorted(there))} == {("completed", 1)}
    assert lost.isdisjoint(await answerers(rubato))
    began = places(leaving)
    assert [len(began[call.name]) for call in unsure] == [1 if call.task_id in lost else 2 for call in unsure]


@pytest.mark.parametrize(  # Serve leaves a replica its deadline and 10 s
    "notice", [pytest.param(20, id="soon"), pytest.param(60, id="later", marks=pytest.mark.long)]
)
async def test_a_drained_node_ends_a_hundred_requests_and_loses_none_of_those_that_come(
    loaded: Loaded, cluster: Cluster, rubato: Background, homes: Homes, notice: float
) -> None:
    running, coming = loaded("guest"), loaded("guest")
    old, seen = replicas(cluster, "guest"), [REPLICAS]
    node = homes.leave()

    def replaced() -> bool:
        seen.append(serving("guest"))
        return old.isdisjoint(replicas(cluster, "guest"))

    async with coming.going(short=4), asyncio.TaskGroup() as group:
        plain = group.create_task(running.many(RUNNING // 2, (2.0, 3.0)))
        leaving = group.create_task(running.many(RUNNING // 2, (2.0, 3.0), Prefer="respond-async, wait=10"))
        await until(lambda: len(begun(running.trace)) == RUNNING)
        assert await ongoing("guest")
        node.drain(notice)
        await until(replaced)
        node.kill()
        await more(coming)

    moved = [call.task_id for call in leaving.result() if call.tries == [202]]
    print(f"{len(moved)} are tasks; while they moved at least {min(seen)} replicas were there")
    assert [call.tries for call in plain.result()] == [[200]] * (RUNNING // 2)
    assert {tuple(call.tries) for call in leaving.result()} <= {(200,), (202,)}
    assert {task.state for task in await rubato.ended(moved)} <= {"completed"}
    assert coming.failed() == []
    assert coming.latest().isdisjoint(old)
    if notice == 20:
        assert moved, "replicas end at once"
    else:
        assert min(seen) == REPLICAS, "new ones start first"
