"""Ids: new ones sort by time, derived ones are fixed by what they stand for."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
import threading
import time
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.ids import derived_id, derived_id_at, is_id, new_id

PARTS = st.lists(st.text(st.characters(exclude_categories=())), max_size=4)


def test_a_new_id_is_a_uuid_of_version_7_that_knows_its_millisecond() -> None:
    before = time.time_ns() // 1_000_000
    id = UUID(new_id())
    after = time.time_ns() // 1_000_000

    assert (id.version, id.variant) == (7, "specified in RFC 4122")
    assert before <= id.int >> 80 <= after + 1  # ids made in a hurry run ahead by fractions of a millisecond


def test_new_ids_strictly_grow() -> None:
    ids = [new_id() for _ in range(20_000)]

    assert all(one < two for one, two in itertools.pairwise(ids))


def test_new_ids_grow_when_the_clock_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    last = new_id()
    monkeypatch.setattr(time, "time_ns", lambda: 0)

    assert last < new_id() < new_id()


def test_no_two_threads_make_the_same_id() -> None:
    made: list[str] = []
    threads = [threading.Thread(target=lambda: made.extend([new_id() for _ in range(2000)])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(set(made)) == 16_000


def test_a_forked_process_makes_other_ids() -> None:
    code = """
import os
from agents.ids import new_id

new_id()
child = os.fork()
if child:
    os.waitpid(child, 0)
print(new_id()[-12:], flush=True)
"""

    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert len(said) == 2
    assert said[0] != said[1]


@given(PARTS)
def test_a_derived_id_is_a_uuid_of_version_8(parts: list[str]) -> None:
    id = derived_id(*parts)

    assert (UUID(id).version, UUID(id).variant) == (8, "specified in RFC 4122")
    assert is_id(id)
    assert id == derived_id(*parts)


@given(PARTS, PARTS)
def test_other_parts_give_another_id(one: list[str], two: list[str]) -> None:
    assert (derived_id(*one) == derived_id(*two)) == (one == two)


def test_parts_that_only_join_alike_give_other_ids() -> None:
    assert (
        len({derived_id(*parts) for parts in [("ab", "c"), ("a", "bc"), ("abc",), ("abc", ""), ("1:a",), ("a", "")]})
        == 6
    )


@pytest.mark.slow
def test_a_derived_id_is_the_same_in_every_process() -> None:
    code = "from agents.ids import derived_id; print(derived_id('acme', 'task', 'pay', '#0'))"
    env = {"PYTHONPATH": ":".join(filter(None, sys.path)), "PYTHONHASHSEED": "1"}

    other = subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True).stdout

    assert other.strip() == derived_id("acme", "task", "pay", "#0") == "3c35bec9-d80d-8dce-9f90-0d321668b518"


def test_an_id_derived_at_a_moment_sorts_among_new_ones_by_it() -> None:
    before, now, after = new_id(), time.time() + 1, UUID(int=UUID(new_id()).int + (2000 << 80))

    id = derived_id_at(now, "acme", "nightly")

    assert before < id < str(after)
    assert (UUID(id).version, UUID(id).variant) == (8, "specified in RFC 4122")
    assert is_id(id)


def test_an_id_derived_at_a_moment_is_fixed_by_it_and_the_parts() -> None:
    moments_and_parts = [(1.5, ["a"]), (1.5, ["a"]), (1.501, ["a"]), (1.5, ["b"]), (1.5, ["a", ""])]
    made = [derived_id_at(moment, *parts) for moment, parts in moments_and_parts]

    assert made[0] == made[1]
    assert len(set(made)) == 4


def test_an_id_is_known_in_its_canonical_form_only() -> None:
    id = new_id()

    assert is_id(id)
    for other in (
        "",
        id.upper(),
        id.replace("-", ""),
        f"{{{id}}}",
        f"urn:uuid:{id}",
        f" {id}",
        f"{id}\n",
        id[:-1],
        "١" * 32,
    ):
        assert not is_id(other)
    assert re.fullmatch(r"[0-9a-f-]{36}", id)
