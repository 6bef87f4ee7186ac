"""Nothing is acknowledged that is not on the disk, and many who ask at once share a sync: counted under load."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from cluster.ledger import Ledger
from cluster.store import Store
from tests.postgres import OwnServer, drop_database, make_database

from .making import submission, task
from .on_postgres import opened, say

CLIENTS, EACH = 16, 20
SOME = 10  # transactions that begin a session, and what runs in a server by itself

# Every question and every answer leaves a line in the trace: a write to a file that nobody reads.
WRITER = """
import asyncio, os, sys
from pathlib import Path
from cluster.sqlite import SqliteStore
from tests.cluster.test_syncs import submit_all

async def main():
    store = SqliteStore(Path(sys.argv[1])); owner = store.take(create=True)
    store = SqliteStore(Path(sys.argv[1])); await store.open(owner.store_id, owner.generation)
    marks = os.open(os.devnull, os.O_WRONLY)
    print(await submit_all(store, lambda mark: os.write(marks, mark.encode())))

asyncio.run(main())
"""


async def submit_all(store: Store, mark: Callable[[str], object]) -> int:
    """Many clients, each of whom waits for its answer before it asks again; in how many ticks."""
    ledger = Ledger(store)
    running = asyncio.create_task(ledger.run())

    async def ask(client: int) -> None:
        for turn in range(EACH):
            mark(f"ask {client}.{turn}.")
            await ledger.submit(submission(task()))
            mark(f"told {client}.{turn}.")

    await asyncio.gather(*map(ask, range(CLIENTS)))
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    return ledger.ticks


class Moment(NamedTuple):
    """A line of the trace."""

    kind: str  # `ask`, `told`, `begin` of a sync of the log or its `end`, `copied` where the log is in the database
    of: str  # who asked, or the thread that syncs


def moments(trace: str) -> Iterator[Moment]:
    for line in trace.splitlines():
        thread = line.split()[0]
        if found := re.search(r'write\(\d+<[^>]*>, "(ask|told) (\d+\.\d+)\.', line):
            yield Moment(found[1], found[2])
        elif re.search(r"f(?:data)?sync\(\d+<[^>]*-wal>", line):
            yield Moment("begin", thread)
            if line.endswith("= 0"):
                yield Moment("end", thread)
        elif re.search(r"f(?:data)?sync\(\d+<[^>]*\.db>", line):
            yield Moment("copied", thread)
        elif re.search(r"<\.\.\. f(?:data)?sync resumed>.*= 0$", line):
            yield Moment("end", thread)


@pytest.mark.slow
# For a user who has no strace; CI installs it, and so it is counted there.
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed: fdatasync cannot be counted")
def test_between_each_question_and_its_answer_lies_a_sync_of_the_log_and_many_share_it(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-y", "-e", "trace=fdatasync,fsync,write", "-o", str(trace), sys.executable, "-c"]
    done = subprocess.run([*command, WRITER, str(tmp_path / "ledger.db")], capture_output=True, text=True, check=True)

    ticks, syncs, answers, copies = int(done.stdout), 0, 0, 0
    asked: dict[str, int] = {}
    began: dict[str, int] = {}  # by the thread that syncs
    last = -1  # when the last sync began that is over
    for at, (kind, of) in enumerate(moments(trace.read_text())):
        if kind == "ask":
            asked[of] = at
        elif kind == "begin":
            began[of] = at
        elif kind == "end" and of in began:
            last = max(last, began.pop(of))
            syncs += bool(asked)
        elif kind == "copied":
            copies += bool(asked)
        elif kind == "told":
            answers += 1
            assert last > asked[of], f"the answer to {of} came before any sync that began after it was asked"

    assert answers == CLIENTS * EACH
    assert ticks <= answers / 2
    heads = 1 + copies  # the log begins, at first and after each copy, with a head that is synced; so is what is copied
    assert ticks <= syncs <= ticks + heads + copies, f"{syncs} syncs for {ticks} ticks, {copies} copies"


async def test_a_postgresql_syncs_its_log_for_every_tick_that_is_acknowledged(own_postgres: OwnServer) -> None:
    url = await make_database(own_postgres, "syncs")
    try:
        async with opened(url) as store:
            ended = await ended_syncs(url)
            ticks = await submit_all(store, lambda mark: None)
        syncs = await ended_syncs(url) - ended
    finally:
        await drop_database(own_postgres, "syncs")

    assert ticks <= CLIENTS * EACH / 2
    assert ticks <= syncs <= ticks + SOME, f"{syncs} syncs for {ticks} ticks"


async def ended_syncs(url: str) -> int:
    """Of the log, by those that clients were connected to: they tell when they end, which takes a moment."""
    query = "select sum(fsyncs) from pg_stat_io where object='wal' and backend_type='client backend'"
    found, before = -1, -2
    while found != before:
        before = found
        await asyncio.sleep(0.3)
        ((found,),) = await say(url, query)
    return int(found)
