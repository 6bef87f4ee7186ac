"""Work on machines that are taken away: nothing recorded runs again, and nothing waits for what is gone."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from cluster.claims import LEASE
from cluster.remote import POOL
from tests.faults.background import Background, background

from .ground import Machine
from .harness import Cluster, Rented, autoscaled
from .renters import Began, Job, begun

pytestmark = [pytest.mark.ray, pytest.mark.timeout(360)]

NOTICE = 6.0
KINDS = (  # one worker fits on a machine, so each of the two has its own
    Rented("spot", {"CPU": 1}, market="spot", priority=10, max_nodes=1),
    Rented("cpu", {"CPU": 1}, max_nodes=1),
)
Report = Callable[[str, object], None]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with autoscaled(KINDS, notice=NOTICE) as found:
        yield found


@pytest.fixture(scope="module")
def rubato(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Background]:
    with background(tmp_path_factory.mktemp("state"), ["tests.autoscaling.renters:Renter"], workers=2) as found:
        yield found


class Scene:
    """Two workers with tasks under way, one of them on a spot machine."""

    def __init__(self, rubato: Background, trace: Path, spot: Machine, doomed: int) -> None:
        self.rubato = rubato
        self.trace = trace
        self.spot = spot
        self.doomed = doomed  # the process of the worker on it
        self.ids: list[str] = []

    def begun(self) -> list[Began]:
        return begun(self.trace)

    def there(self) -> list[Began]:
        """What began on the spot machine."""
        return [step for step in self.begun() if step.pid == self.doomed]

    async def recorded(self) -> dict[str, set[int]]:
        """The steps of each task that are recorded now."""
        journals = [await self.rubato.ledger.steps("", id) or [] for id in self.ids]
        return {id: {int(step.key[1:]) for step in journal} for id, journal in zip(self.ids, journals, strict=True)}


@pytest.fixture
async def scene(cluster: Cluster, rubato: Background, tmp_path: Path) -> Scene:
    await rubato.until_ready(2, 180)  # machines are launched first, and a busy one takes its time for each
    (spot,) = cluster.machines("spot")
    under_it = {each.pid for each in psutil.Process(spot.pid).children(recursive=True)}
    (doomed,) = under_it & set(await rubato.pids())
    return Scene(rubato, tmp_path / "trace", spot, doomed)


async def at_work(scene: Scene, *jobs: Job) -> None:
    """All of them have been submitted, and both workers have begun some steps."""
    scene.ids = await scene.rubato.submit("renter", *jobs, seconds=120)
    async with asyncio.timeout(60):
        while len({step.pid for step in scene.begun()}) < 2 or len(scene.begun()) < 3 * len(jobs):
            await asyncio.sleep(0.02)


def jobs(scene: Scene, count: int = 12) -> list[Job]:
    return [Job(trace=str(scene.trace), name=f"j{number}", steps=12) for number in range(count)]


async def lapsed(rubato: Background) -> int:
    """How many claims ever waited until their lease was over."""
    return sum((await rubato.ledger.figures()).lost_leases.values())


@pytest.mark.long
async def test_with_notice_each_step_ends_or_is_cut_in_time_and_nothing_runs_twice(
    cluster: Cluster, scene: Scene, record_property: Report
) -> None:
    long = [Job(trace=str(scene.trace), name=f"long{number}", steps=1, seconds=8) for number in range(2)]
    await at_work(scene, long[0], *jobs(scene), long[1])  # the first to pull has the first, the other the last
    cut = {step.name for step in scene.there() if step.name.startswith("long")}

    told = time.time()
    cluster.reclaim(scene.spot)
    tasks = await scene.rubato.ended(scene.ids)

    assert {(task.state, task.attempts) for task in tasks} == {("completed", 1)}
    ran = Counter((step.name, step.number) for step in scene.begun())
    twice = {name for (name, _), times in ran.items() if times > 1}
    assert twice == cut, "only what did not fit began again"
    assert cut
    again = [step for step in scene.begun() if step.name in cut]
    assert again[-1].pid != scene.doomed
    assert again[-1].at < told + NOTICE, "it did not wait for the machine to be gone"
    last = max(step.at for step in scene.there())
    assert last < told + NOTICE / 2, "steps went on beginning there"
    assert await lapsed(scene.rubato) == 0
    record_property("report", f"the last step on the machine began {last - told:.2f} s after its notice")


@pytest.mark.long
async def test_while_the_pool_is_away_workers_hear_of_it_too(cluster: Cluster, scene: Scene) -> None:
    await at_work(scene, *jobs(scene))

    await scene.rubato.kill(POOL)
    told = time.time()
    cluster.reclaim(scene.spot)
    tasks = await scene.rubato.ended(scene.ids)

    assert {(task.state, task.attempts) for task in tasks} == {("completed", 1)}
    assert set(Counter((step.name, step.number) for step in scene.begun()).values()) == {1}
    assert max(step.at for step in scene.there()) < told + NOTICE / 2
    assert await lapsed(scene.rubato) == 0


@pytest.mark.long
async def test_a_worker_that_is_told_to_end_gives_its_claims_back(cluster: Cluster, scene: Scene) -> None:
    await at_work(scene, *jobs(scene))

    told = time.time()
    os.kill(scene.doomed, signal.SIGTERM)
    tasks = await scene.rubato.ended(scene.ids)

    assert {(task.state, task.attempts) for task in tasks} == {("completed", 1)}
    assert set(Counter((step.name, step.number) for step in scene.begun()).values()) == {1}
    assert max(step.at for step in scene.there()) < told + 1
    assert not psutil.pid_exists(scene.doomed)
    assert await lapsed(scene.rubato) == 0


@pytest.mark.long
@pytest.mark.parametrize("pool", [True, False], ids=["the pool is there", "the pool is gone too"])
async def test_without_notice_all_is_queued_again_within_a_lease_and_a_second(
    cluster: Cluster, scene: Scene, pool: bool, record_property: Report
) -> None:
    await at_work(scene, *jobs(scene))
    held = {step.name for step in scene.there()}
    before = await scene.recorded()

    if not pool:
        await scene.rubato.kill(POOL)
    lost = time.time()
    cluster.lose(scene.spot)
    tasks = await scene.rubato.ended(scene.ids)

    assert {(task.state, task.attempts) for task in tasks} == {("completed", 1)}, "a lost node is no task's fault"
    again: dict[str, float] = {}
    for id, job in zip(scene.ids, jobs(scene), strict=True):
        mine = [step for step in scene.begun() if step.name == job.name]
        twice = {number for number, times in Counter(step.number for step in mine).items() if times > 1}
        assert not twice & before[id], "a recorded step ran again"
        if job.name in held:
            again[job.name] = min(step.at for step in mine if step.pid != scene.doomed)
    assert again.keys() == held
    assert max(again.values()) < lost + LEASE + 1
    record_property("report", f"the last of {len(held)} went on {max(again.values()) - lost:.1f} s after the loss")
