"""The ledger's process: what it says while its store is not open, and what becomes of it then."""

from __future__ import annotations

import asyncio
import pickle
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from agents import RubatoError
from cluster import actors
from cluster.claims import Ending, Hello, Picture, Report, Verdict
from cluster.direct import Direct, NoDoor
from cluster.door import Door, Doorway
from cluster.errors import Fenced, StoreProblem, Superseded, Unavailable
from cluster.sqlite import SqliteStore

from .making import submission, task


class Actor(actors.Ledger):
    """As Ray would run it, save that its process is this one."""

    async def ends(self) -> None:
        self._running.cancel()
        await asyncio.wait([self._running])
        await self._store.close()


@pytest.fixture
def deaths(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How often the process would have ended."""
    found: list[int] = []
    monkeypatch.setattr(actors, "die", lambda: found.append(1))
    monkeypatch.setattr(actors, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(actors, "OPEN_SECONDS", 0.05)
    monkeypatch.setattr(actors, "collect_rarely", lambda: None)
    return found


@pytest.fixture
def no_door(monkeypatch: pytest.MonkeyPatch) -> None:
    async def none(doorway: object) -> None:
        return None

    monkeypatch.setattr(actors, "_open_door", none)


async def ask(actor: Actor, method: str, *args: Any) -> Any:
    well, outcome = pickle.loads(await actor.ask(pickle.dumps((method, args, {}))))
    if not well:
        raise outcome
    return outcome


def plan(path: Path) -> actors.LedgerPlan:
    owner = SqliteStore(path).take(create=True)
    return actors.LedgerPlan(str(path), owner.store_id, owner.generation)


@pytest.mark.usefixtures("no_door")
async def test_a_ledger_that_cannot_open_its_store_says_so_and_ends_for_the_next_to_try(
    tmp_path: Path, deaths: list[int]
) -> None:
    found = plan(tmp_path / "ledger.db")
    (tmp_path / "ledger.db").rename(tmp_path / "away")

    actor = Actor(found)
    with pytest.raises(StoreProblem, match="gone"):
        await actor.pid()
    with pytest.raises(Unavailable, match="gone"):
        await ask(actor, "submit", submission())
    await asyncio.sleep(0.05)
    assert deaths == [1]

    (tmp_path / "away").rename(tmp_path / "ledger.db")
    again = Actor(found)
    assert (await ask(again, "submit", submission())).task_ids
    await again.ends()


@pytest.mark.usefixtures("no_door")
async def test_a_fenced_ledger_stays_down_and_says_so(tmp_path: Path, deaths: list[int]) -> None:
    found = plan(tmp_path / "ledger.db")
    SqliteStore(tmp_path / "ledger.db").take(create=False)

    actor = Actor(found)
    with pytest.raises(Fenced):
        await actor.pid()
    with pytest.raises(Superseded, match="generation"):
        await ask(actor, "beat", "w1", Picture(0, (), ()))
    await asyncio.sleep(0.05)

    assert deaths == []


@pytest.mark.usefixtures("no_door")
async def test_whoever_asks_while_the_store_does_not_open_is_told_in_time(
    tmp_path: Path, deaths: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(self: SqliteStore, store_id: str, generation: int) -> None:
        await asyncio.Event().wait()

    found = plan(tmp_path / "ledger.db")
    monkeypatch.setattr(SqliteStore, "open", never)
    actor = Actor(found)

    with pytest.raises(RubatoError, match="not open yet"):
        await ask(actor, "submit", submission())
    await actor.ends()

    assert deaths == []


async def test_a_ledger_that_is_fenced_while_it_serves_hangs_up(
    tmp_path: Path, deaths: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def here(doorway: Doorway) -> Door:
        return await doorway.open("127.0.0.1")

    monkeypatch.setattr(actors, "_open_door", here)
    monkeypatch.setattr(actors, "HANG_UP", 0.05)
    actor = Actor(plan(tmp_path / "ledger.db"))
    caller = Direct(actor.door)
    await caller.call("submit", (submission(),), {})
    connection = caller.connection
    with sqlite3.connect(tmp_path / "ledger.db") as other:
        other.execute("update owner set generation=generation+1")
    other.close()

    with pytest.raises(Unavailable, match="fenced"):
        await caller.call("submit", (submission(),), {})
    await asyncio.sleep(0.2)

    assert connection is not None
    assert not connection.open
    with pytest.raises(NoDoor):
        await caller.call("submit", (submission(),), {})
    with pytest.raises(Superseded, match="another one has taken its store"):
        await ask(actor, "beat", "w1", Picture(0, (), ()))
    assert deaths == []
    await actor.ends()


@pytest.mark.usefixtures("no_door")
async def test_a_ledger_that_hands_over_leaves_all_claims_to_the_next(tmp_path: Path, deaths: list[int]) -> None:
    old = Actor(plan(tmp_path / "ledger.db"))
    hello = Hello("w1", "light", {"echo": 1})
    await ask(old, "submit", submission())
    (claim,) = (await ask(old, "pull", hello, 1)).claims

    await old.hand_over()
    unanswered = asyncio.create_task(ask(old, "submit", submission(task(id="t2"))))
    owner = SqliteStore(tmp_path / "ledger.db").take(create=False)
    new = Actor(actors.LedgerPlan(str(tmp_path / "ledger.db"), owner.store_id, owner.generation, keeps=True))
    await new.pid()

    done = Report(claim.task.tenant, claim.task.id, claim.task.fence, 1, verdict=Verdict(Ending.COMPLETED, "1"))
    assert (await ask(new, "report", hello, 2, (done,))).lost == ()
    assert (await ask(new, "task", claim.task.tenant, claim.task.id)).state == "completed"
    assert not unanswered.done()
    unanswered.cancel()
    await new.ends()
    assert deaths == []
