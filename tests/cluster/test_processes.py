from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

from cluster import processes
from cluster.processes import MARK, POLITE, end, mark_of, marked

# A child in a session of its own whose parent ends at once, as HAProxy's does.
ORPHAN = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    print(os.getpid(), flush=True)
    time.sleep(600)
"""
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"


@pytest.fixture
def cluster() -> Iterator[str]:
    id = secrets.token_hex(8)
    yield id
    for process in marked(id):
        process.kill()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> float:
    """How long a process that hears nothing is waited for here."""
    monkeypatch.setattr(processes, "POLITE", 0.4)
    return processes.POLITE


def start(code: str, cluster: str) -> tuple[subprocess.Popen[str], str]:
    """The process, and the first line it printed."""
    env = {**os.environ, MARK: cluster}
    process = subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def test_a_process_is_found_when_its_parent_is_gone_and_its_session_is_another(cluster: str) -> None:
    parent, orphan = start(ORPHAN, cluster)
    parent.wait()

    assert [process.pid for process in marked(cluster)] == [int(orphan)]


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
def test_those_of_another_cluster_are_let_be(cluster: str) -> None:
    other = secrets.token_hex(8)
    process, _ = start(DEAF, other)

    assert end(cluster) == 0
    assert mark_of(process.pid) == other

    end(other)
    process.wait()


@pytest.mark.slow
def test_whoever_does_not_end_when_asked_is_killed(cluster: str, impatient: float) -> None:
    process, _ = start(DEAF, cluster)
    began = time.monotonic()

    assert end(cluster) == 1

    assert time.monotonic() - began >= impatient
    assert marked(cluster) == []
    process.wait()


def test_who_ends_when_asked_is_not_waited_for_any_longer(cluster: str) -> None:
    process, _ = start("import time; print(1, flush=True); time.sleep(600)", cluster)
    began = time.monotonic()

    end(cluster)

    assert time.monotonic() - began < POLITE
    assert marked(cluster) == []
    process.wait()


def test_the_caller_is_never_one_of_them(cluster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    code = f"from cluster.processes import marked; print([p.pid for p in marked({cluster!r})])"
    env = {**os.environ, MARK: cluster}

    found = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "[]"


def test_a_process_that_is_gone_has_no_mark() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()

    assert not psutil.pid_exists(gone.pid)
    assert mark_of(gone.pid) is None
