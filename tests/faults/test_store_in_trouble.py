"""A store in a file that is slow, takes no writes or has no room left: callers are told, and nothing is lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cluster.remote import LEDGER, Remote

from .sites import Site, site
from .troubles import HELD, Say, full, live_through, locked, slow

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def on_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("state")) as found:
        yield found


@pytest.mark.long
async def test_a_slow_disk_slows_all_and_loses_nothing(on_sqlite: Site, record_property: Say) -> None:
    waits: list[float] = []

    async def probe() -> None:
        for _ in range(20):
            began = time.monotonic()
            await on_sqlite.rubato.ledger.pause("nobody", None)
            waits.append(time.monotonic() - began)
            await asyncio.sleep(0.1)

    @asynccontextmanager
    async def slow_and_probed() -> AsyncIterator[None]:
        async with slow(store_of(on_sqlite)), asyncio.TaskGroup() as group:
            group.create_task(probe())
            yield

    accepted = await live_through(on_sqlite, slow_and_probed(), record_property)

    assert accepted > 0
    assert max(waits) > HELD / 2


@pytest.mark.long
async def test_while_another_holds_the_file_callers_are_told_to_come_again(
    on_sqlite: Site, record_property: Say
) -> None:
    asked = on_sqlite.told.replays

    accepted = await live_through(on_sqlite, locked(store_of(on_sqlite)), record_property)

    assert accepted == 0
    assert on_sqlite.told.replays > asked


@pytest.mark.long
async def test_while_the_disk_is_full_callers_are_told_to_come_again(on_sqlite: Site, record_property: Say) -> None:
    asked = on_sqlite.told.replays
    pid: int = await Remote(LEDGER).call("pid", patience=10)

    accepted = await live_through(on_sqlite, full(pid), record_property)

    assert accepted == 0
    assert on_sqlite.told.replays > asked


def store_of(site: Site) -> Path:
    return site.rubato.folder / "ledger.db"
