"""The agent in both modes: its steps, its crashes, its refusals, and how lightly it loads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from agents import Mode
from agents.library.documents import Document, Fields
from agents.library.documents.errors import DamagedDocument, EncryptedDocument, NotADocument
from agents.testing import Crash, Host

from .conftest import ROOT, Prepared, host, path_of, run_on

SUMMARY = "samples/dmca-summary-1998.pdf"
FORM = "samples/tax-form-1040a-2007.pdf"


@pytest.fixture(scope="module")
def uninterrupted() -> dict[str, Fields]:
    """What one run without a crash gives."""
    return {name: run_on(name).fields for name in (SUMMARY, FORM)}


async def test_the_steps_are_open_read_by_page_extract_and_check() -> None:
    runner = host()

    await runner.run(Document(file=runner.put(path_of(FORM))))

    assert runner.ran[0] == "open#0"
    assert set(runner.ran[1:3]) == {"read:1", "read:2"}
    assert runner.ran[3:] == ["extract#0", "check#0"]


@pytest.mark.parametrize("step", ["open", "read:7", "extract", "check"])
async def test_a_crash_at_any_step_reads_no_recorded_page_again_and_changes_nothing(
    step: str, uninterrupted: dict[str, Fields]
) -> None:
    runner = host()
    document = Document(file=runner.put(path_of(SUMMARY)))

    with pytest.raises(Crash):
        await runner.run(document, crash_after=step)
    recorded = {str(record.id) for record in runner.journal}
    before = len(runner.ran)
    fields = await runner.run(document)

    assert recorded.isdisjoint(runner.ran[before:])
    assert fields == uninterrupted[SUMMARY]


async def test_real_time_and_background_give_the_same_fields(uninterrupted: dict[str, Fields]) -> None:
    live = Host(Prepared(), mode=Mode.REALTIME)

    assert await live.run(Document(file=live.put(path_of(FORM)))) == uninterrupted[FORM]


@pytest.mark.parametrize(
    ("name", "content", "refusal"),
    [
        ("notes.pdf", b"these are only notes", NotADocument),
        ("cut.pdf", None, DamagedDocument),
        ("locked.pdf", path_of("data/encrypted.pdf").read_bytes(), EncryptedDocument),
    ],
)
async def test_a_file_that_cannot_be_read_ends_the_run_with_the_reason(
    name: str, content: bytes | None, refusal: type[Exception], tmp_path: Path
) -> None:
    runner = host()
    file = tmp_path / name
    file.write_bytes(path_of(SUMMARY).read_bytes()[:40_000] if content is None else content)

    with pytest.raises(refusal, match="send"):
        await runner.run(Document(file=runner.put(file)))

    assert runner.ran == []


async def test_a_page_that_is_broken_ends_the_run_with_its_own_error_and_not_a_group(tmp_path: Path) -> None:
    broken = tmp_path / "broken.pdf"
    broken.write_bytes(
        b"%PDF-1.4\n1 0 obj\n<</Type/Catalog/Pages 2 0 R>>\nendobj\n"
        b"2 0 obj\n<</Type/Pages/Count 2/Kids[3 0 R 9 0 R]>>\nendobj\n"
        b"3 0 obj\n<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]>>\nendobj\n"
        b"trailer\n<</Root 1 0 R/Size 4>>\n%%EOF\n"
    )
    runner = host()

    with pytest.raises(DamagedDocument, match="page 2"):
        await runner.run(Document(file=runner.put(broken)))


def test_importing_the_agent_loads_none_of_its_heavy_libraries() -> None:
    heavy = "cv2 rapidocr onnxruntime pypdfium2 pdfplumber PIL numpy ray"
    code = f"import agents.library.documents, sys; print([m for m in '{heavy}'.split() if m in sys.modules])"

    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert shown.stdout.strip() == "[]"
