"""Whatever crashes, and whenever: thousands of schedules of ledger, store and workers keep every promise.

The stores: a memory; SQLite in a file, whose ledgers are killed; and the same on a disk that loses with each kill what
was not synced, or tears it, at any change to it in the middle of a commit too; and a real PostgreSQL, to which the
connection is lost before a commit, or before its answer. All run the product's own statements.

Each run draws new seeds. One that breaks a promise is printed with the end of its story, and replays to the letter:
`RUBATO_SEED=SEED ./rubato test tests/simulation -k "STORE and every_promise"` tells the whole story.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from .sabotage import NEEDS, SABOTAGE

ROOT = Path(__file__).resolve().parents[2]
STORES = {"memory": 300, "sqlite": 150, "cuts": 150}  # schedules in each of two processes
SERVED = 20  # with a PostgreSQL, in one process
LONG = 16  # times as many
TASTE = 50  # schedules that the fast gate has time for
TEETH = 1500  # schedules in which what we break must be found; most show within a few dozen
RARE = {"blind_leases": 3001}  # seeds from which on that is so, for what shows once in a thousand or two
SEED = os.environ.get("RUBATO_SEED")  # runs this one alone, and tells its story


def start(store: str, seed: int, *arguments: str) -> subprocess.Popen[str]:
    """In a process of its own, in which sets have the same order each time: a seed says everything."""
    command = [sys.executable, "-P", "-m", "tests.simulation", store, str(seed), *arguments]
    env = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(runs: Sequence[subprocess.Popen[str]]) -> list[str]:
    """What they said. Fails with the story of the first that broke a promise."""
    told = [run.communicate()[0] for run in runs]
    for run, said in zip(runs, told, strict=True):
        print(said)
        assert run.returncode == 0, f"{said}\nRUBATO_SEED=<that seed> replays it, with the whole story"
    return told


def schedules(store: str, number: int, *options: str, processes: int = 2) -> None:
    if SEED is not None:
        finish([start(store, int(SEED), "--trace", *options)])
        return
    first = random.SystemRandom().randrange(2**31)
    finish([start(store, first + place * number, str(number), *options) for place in range(processes)])


def find(sabotage: str, *options: str) -> None:
    run = start(NEEDS.get(sabotage, "memory"), RARE.get(sabotage, 1), str(TEETH), "--sabotage", sabotage, *options)
    said = run.communicate()[0]
    assert run.returncode == 1, f"nobody noticed: {said}"
    assert "seed " in said


@pytest.mark.slow
def test_a_few_schedules_keep_every_promise() -> None:
    schedules("memory", TASTE, processes=1)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("store", STORES)
def test_whatever_crashes_every_promise_is_kept(store: str) -> None:
    schedules(store, STORES[store])


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("store", STORES)
def test_in_many_more_schedules_every_promise_is_kept(store: str) -> None:
    schedules(store, STORES[store] * LONG)


@pytest.mark.slow
async def test_whatever_crashes_a_postgresql_keeps_every_promise(postgres_url: str) -> None:
    schedules("postgres", SERVED, "--url", postgres_url, processes=1)


@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_in_many_more_schedules_a_postgresql_keeps_every_promise(postgres_url: str) -> None:
    schedules("postgres", SERVED * LONG, "--url", postgres_url, processes=1)


@pytest.mark.slow
@pytest.mark.parametrize("store", STORES)
def test_a_ledger_may_die_at_each_of_its_steps(store: str) -> None:
    (said,) = finish([start(store, 1, "--each-step")])

    assert int(said.split()[0]) >= 100


@pytest.mark.slow
@pytest.mark.parametrize("store", STORES)
def test_a_seed_replays_to_the_letter_whatever_ran_before_it(store: str) -> None:
    alone, after = finish([start(store, 24, "--trace"), start(store, 1, "24", "--trace")])

    *story, _ = alone.splitlines()
    assert after.splitlines()[-1 - len(story) : -1] == story
    assert alone.count(" commits ") > 15


@pytest.mark.slow
@pytest.mark.parametrize("sabotage", [name for name in SABOTAGE if NEEDS.get(name) != "postgres"])
def test_what_we_break_is_found(sabotage: str) -> None:
    find(sabotage)


@pytest.mark.slow
async def test_what_we_break_of_a_postgresql_is_found(postgres_url: str) -> None:
    find("believed_commits", "--url", postgres_url)
