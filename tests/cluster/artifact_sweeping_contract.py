"""Which artifacts go and which stay, over every store: a part of the StoreContract."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path

import pytest

from agents.artifacts import FolderArtifacts
from agents.events import Emitted
from agents.ids import derived_id
from cluster.claims import Called, Ending, Verdict
from cluster.retention import DAY
from cluster.schedule import Policy, Template, write
from cluster.store import Store
from cluster.task import Options, Origin

from .callers import Caller
from .keeping_contract import schedule
from .making import ManualClock, hello, report, step, submission, task
from .sweeping_contract import keeping, run_to_its_end

DATA = b"%PDF"
SHA256 = hashlib.sha256(DATA).hexdigest()
NAMED = f'{{"file":{{"sha256":"{SHA256}","size":4}}}}'


class ArtifactSweepingContract:
    """A ledger over the store and a folder of artifacts, whose passes are done by hand."""

    @pytest.fixture
    def place(self, tmp_path: Path) -> Path:
        """Where artifacts are."""
        return tmp_path / "artifacts"

    async def test_an_artifact_goes_when_no_task_names_it_and_it_is_old(self, store: Store, place: Path) -> None:
        clock, artifacts = ManualClock(), FolderArtifacts(place)
        artifacts.write(DATA)
        spare = artifacts.write(b"never used")
        _age(place, clock.time)
        async with keeping(store, clock, folder=place) as ledger:
            await ledger.submit(submission(task(input=NAMED)))
            await run_to_its_end(ledger, Caller(ledger, hello()))
            assert await ledger._sweeper.artifacts() == 0

            clock.advance(6 * DAY)
            assert await ledger._sweeper.artifacts() == 1
            assert _files(place) == {SHA256}

            clock.advance(6 * DAY)
            await ledger._sweeper.tasks()
            assert await ledger._sweeper.artifacts() == 1
            assert _files(place) == set()
            assert spare != SHA256

    async def test_an_artifact_that_is_written_again_stays(self, store: Store, place: Path) -> None:
        clock, artifacts = ManualClock(), FolderArtifacts(place)
        artifacts.write(DATA)
        _age(place, clock.time)
        clock.advance(6 * DAY)
        async with keeping(store, clock, folder=place) as ledger:
            artifacts.write(DATA)
            assert await ledger._sweeper.artifacts() == 0
            assert artifacts.read(SHA256) == DATA

    async def test_what_is_uploaded_and_then_submitted_is_there_whatever_is_swept(
        self, store: Store, place: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The upload comes when the sweeper knows already that the artifact is old and that nobody names it."""
        clock, artifacts = ManualClock(), FolderArtifacts(place)
        artifacts.write(DATA)
        _age(place, clock.time)
        clock.advance(6 * DAY)
        async with keeping(store, clock, folder=place) as ledger:
            unnamed = ledger._sweeper._unnamed

            async def then_uploaded(tenant: str, sha256s: list[str]) -> list[str]:
                free = await unnamed(tenant, sha256s)
                assert free == [SHA256]
                artifacts.write(DATA)
                await ledger.submit(submission(task(input=NAMED)))
                return free

            await ledger.submit(submission(task()))
            monkeypatch.setattr(ledger._sweeper, "_unnamed", then_uploaded)
            assert await ledger._sweeper.artifacts() == 0

        assert artifacts.read(SHA256) == DATA

    async def test_whatever_names_an_artifact_keeps_it(self, store: Store, place: Path) -> None:
        clock, artifacts = ManualClock(), FolderArtifacts(place)
        kept = {name: artifacts.write(name.encode()) for name in ("input", "step", "event", "output", "signal", "plan")}
        named = {name: f'{{"sha256" : "{sha256}"}}' for name, sha256 in kept.items()}
        artifacts.write(b"spare")
        _age(place, clock.time)
        async with keeping(store, clock, folder=place) as ledger:
            one = task(input=named["input"])
            await ledger.submit(submission(one))
            await ledger.signal("", one.id, "go", named["signal"])
            caller = Caller(ledger, hello())
            claim = await caller.claim()
            said = Emitted("progress", "", 6.0, named["event"])
            done = Verdict(Ending.COMPLETED, output=named["output"])
            await caller.report(report(claim, 1, step(value=named["step"]), said, verdict=done))
            template = write(Template(Options(), Policy("v1", 5.0, 1)))
            await ledger.put_schedule(schedule(input=named["plan"], template=template), True)
            clock.advance(6 * DAY)

            assert await ledger._sweeper.artifacts() == 1

        assert _files(place) == set(kept.values())

    async def test_what_a_child_answered_is_named_by_its_parent(self, store: Store) -> None:
        clock = ManualClock()
        async with keeping(store, clock) as ledger:
            caller = Caller(ledger, hello())
            parent = task()
            await ledger.submit(submission(parent))
            claim = await caller.claim()
            called = Called(
                id=derived_id("", parent.id, "call"),
                agent="echo",
                version="v1",
                input="1",
                max_attempts=1,
                timeout=5.0,
                origin=Origin("call", "#0", "d", "call#0", 1),
            )
            await caller.report(report(claim, 1, called))
            child = await caller.claim()
            await caller.report(report(child, 1, verdict=Verdict(Ending.COMPLETED, output=NAMED)))

            async def told() -> bool:
                return bool(await ledger.steps("", parent.id))

            async with asyncio.timeout(5):
                while not await told():
                    await asyncio.sleep(0.001)
            await ledger._ticks.move(lambda book, _: book.writes.gone.append(child.task.ref))

            assert await store.referenced("", [SHA256]) == {SHA256}

    async def test_a_tenant_without_tasks_keeps_what_is_young_only(self, store: Store, place: Path) -> None:
        clock = ManualClock()
        for tenant in ("gone", "here"):
            FolderArtifacts(place, tenant).write(DATA)
        _age(place, clock.time)
        async with keeping(store, clock, folder=place) as ledger:
            one = task(tenant="here", input=NAMED)
            await ledger.submit(submission(one)._replace(tenant="here"))
            await ledger.submit(submission(task(tenant="other")))
            clock.advance(6 * DAY)

            assert await ledger._sweeper._tenants() == {"here", "other"}
            assert await ledger._sweeper.artifacts() == 1

        assert FolderArtifacts(place, "here").read(SHA256) == DATA

    async def test_the_artifacts_of_another_store_are_left_alone(self, store: Store, place: Path) -> None:
        clock = ManualClock()
        FolderArtifacts(place).write(DATA)
        _age(place, clock.time)
        (place / "owner").write_text("another store")
        clock.advance(6 * DAY)
        async with keeping(store, clock, folder=place) as ledger:
            assert await ledger._sweeper.artifacts() == 0

        assert _files(place) == {SHA256}


def _age(folder: Path, at: float) -> None:
    """Let everything there have been written at that moment."""
    for path in folder.rglob("*"):
        os.utime(path, (at, at))


def _files(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file() and path.name != "owner"}
