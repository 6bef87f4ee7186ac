"""A worker is killed in the middle of a real document: the pages that were read are not read again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.artifacts import artifact_store, keep
from agents.library.documents import Document
from tests.raycluster import ROOT, ray_cluster

from .background import Background, background

pytestmark = [pytest.mark.ray, pytest.mark.models, pytest.mark.timeout(240)]

SAMPLE = ROOT / "samples" / "dmca-summary-1998.pdf"
PAGES = 18


@pytest.fixture(scope="module")
def rubato(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Background]:
    folder = tmp_path_factory.mktemp("state")
    with ray_cluster(), background(folder, ["agents.library.documents:Documents"], workers=1) as found:
        yield found


def document(folder: Path) -> Document:
    store = artifact_store(str(folder / "artifacts"))
    return Document(file=keep(store, SAMPLE.read_bytes(), name=SAMPLE.name, media_type="application/pdf"))


async def test_a_worker_killed_in_the_middle_of_a_document_loses_nothing(rubato: Background) -> None:
    await rubato.until_ready(1)
    (id,) = await rubato.submit("documents", document(rubato.folder), seconds=120)
    while len(before := await rubato.ledger.steps("", id) or []) < 5:
        await asyncio.sleep(0.005)

    (worker,) = await rubato.until_ready(1)
    await rubato.kill_worker(worker)
    (task,) = await rubato.ended([id])

    after = await rubato.ledger.steps("", id) or []
    assert task.state == "completed", task.error
    assert task.output is not None
    assert '"1998-10-28"' in task.output
    assert len(before) < PAGES, "the kill came too late to prove anything"
    assert after[: len(before)] == before, "what was recorded stands as it was, and nothing was recorded twice"
    assert len(after) == PAGES + 3, "open, each page, extract, check"
    page = await rubato.ledger.events("", id, -1, 0)
    assert page is not None
    assert [event.type for event in page.events].count("attempt.started") == 2
