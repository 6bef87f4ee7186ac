"""What stands beside OUT, and which files a job refuses to go on with."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pytest

from deployments.job.book import FileBook, UrlBook, book_at
from deployments.job.errors import JobStopped, WrongUsage
from deployments.job.journal import Batch, Header, ranges, read_journal, unrolled
from deployments.job.lines import Survey
from deployments.job.places import errors_of
from deployments.job.records import Marks, Record, line_of, refused, result

ID = "0192f6c1-0000-7000-8000-000000000000"
HEADER = Header("j1", "shop", Survey("ab" * 32, 100, 20, 20), "input", {"priority": 1}, 5)


def record(line: int, good: bool = True) -> Record:
    state, output = ("completed", f'{{"n":{line}}}') if good else ("failed", "null")
    error = "null" if good else '{"type":"permanent"}'
    made = result(line, f'{{"id":"{ID}","state":"{state}","output":{output},"error":{error}}}')
    assert made is not None
    return made


class Clock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def begun(out: Path, *lines: int, header: Header = HEADER, checked: bool = True) -> None:
    """A job that has recorded these lines, and then lost its driver."""
    clock = Clock()
    book = FileBook(str(out), in_order=True, clock=clock)
    book.open(header)
    for line in lines:
        book.write(record(line, good=line % 4 != 0))
    clock.now = 100.0 if checked else 0.0
    book.settle()
    clock.now = 0.0
    if checked:
        book.close(whole=False)
    else:
        book._journal.close()  # type: ignore[union-attr]  # a process that is killed notes nothing


def opened(out: Path, header: Header = HEADER) -> Any:
    book = FileBook(str(out), in_order=header.order == "input")
    try:
        return book.open(header)
    finally:
        if book._journal is not None:
            book._journal.close()


@pytest.mark.parametrize("checked", [True, False])
def test_a_job_goes_on_after_the_lines_that_are_recorded(tmp_path: Path, checked: bool) -> None:
    out = tmp_path / "out.jsonl"
    begun(out, 1, 2, 3, 4, 5, checked=checked)

    start = opened(out)

    assert [line for line in range(1, 21) if line in start.marks] == [1, 2, 3, 4, 5]
    assert (start.completed, start.failed, start.header.id) == (4, 1, "j1")


@pytest.mark.parametrize("cut", [1, 5, 40])
@pytest.mark.parametrize("name", ["out.jsonl", "out.errors.jsonl"])
def test_a_record_that_is_not_whole_is_cut_off(tmp_path: Path, name: str, cut: int) -> None:
    out = tmp_path / "out.jsonl"
    begun(out, 1, 4, checked=False)
    whole = (tmp_path / name).read_bytes()
    with (tmp_path / name).open("ab") as file:
        file.write(record(5).text[:cut])

    start = opened(out)

    assert 5 not in start.marks
    assert (tmp_path / name).read_bytes() == whole


def test_a_note_that_is_not_whole_is_cut_off(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    begun(out, 1)
    with (tmp_path / "out.jsonl.job").open("ab") as file:
        file.write(b'{"accepted": "x", "li')

    assert opened(out).batches == []
    assert opened(out).header == HEADER


def damaged(damage: Callable[[bytes], bytes], name: str = "out.jsonl") -> Callable[[Path], None]:
    def do(folder: Path) -> None:
        (folder / name).write_bytes(damage((folder / name).read_bytes()))

    return do


@pytest.mark.parametrize(
    "damage",
    [
        damaged(lambda text: text.replace(b'"n":2', b'"n":7')),
        damaged(lambda text: text[: len(text) // 2]),
        damaged(lambda text: b""),
        damaged(lambda text: text + b'{"line":1,"id":null,"output":1}\n'),
        damaged(lambda text: text + b'{"line":21,"id":null,"output":1}\n'),
        damaged(lambda text: text + b"hello\n"),
        damaged(lambda text: text + b"\n"),
        damaged(lambda text: text.replace(b"permanent", b"Permanent"), "out.errors.jsonl"),
        lambda folder: (folder / "out.jsonl").unlink(),
        lambda folder: (folder / "out.errors.jsonl").unlink(),
    ],
)
def test_an_output_that_was_changed_is_refused_in_a_line(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    begun(tmp_path / "out.jsonl", 1, 2, 3, 4)
    damage(tmp_path)

    with pytest.raises(WrongUsage, match="is not as this job has left it") as refusal:
        opened(tmp_path / "out.jsonl")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"agent": "other"}, "another AGENT"),
        ({"order": "completion"}, "another --order"),
        ({"options": {}}, "another the options of its tasks"),
        ({"input": Survey("cd" * 32, 100, 20, 20)}, "IN has changed since"),
        ({"format": 2}, "another version"),
    ],
)
def test_another_job_is_refused_with_what_differs(tmp_path: Path, other: dict[str, Any], said: str) -> None:
    begun(tmp_path / "out.jsonl", 1)
    asked = replace(HEADER, id="j2", batch=7)

    assert opened(tmp_path / "out.jsonl", asked).header == HEADER
    with pytest.raises(WrongUsage, match=said):
        opened(tmp_path / "out.jsonl", replace(asked, **other))


@pytest.mark.parametrize("name", ["out.jsonl", "out.errors.jsonl"])
def test_nothing_that_is_there_already_is_written_over(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine\n")

    with pytest.raises(WrongUsage, match="is there already"):
        opened(tmp_path / "out.jsonl")

    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_what_is_no_journal_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out.jsonl.job").write_text('{"name": "something else"}\n')

    with pytest.raises(WrongUsage, match="is not what a job has written"):
        opened(tmp_path / "out.jsonl")


def test_an_output_that_cannot_be_written_is_told_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(WrongUsage, match="No such file or directory"):
        opened(tmp_path / "nowhere" / "out.jsonl")
    (tmp_path / "out.jsonl").mkdir()
    with pytest.raises(WrongUsage, match="is not a file"):
        opened(tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl.job").exists()


def test_a_full_disk_stops_the_job_and_what_was_written_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out.jsonl"
    begun(out, 1, 2)
    book = FileBook(str(out), in_order=True)
    book.open(HEADER)

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(JobStopped, match="No space left on device"):
            book.accepted(Batch("b1", (3,)))
    book.close(whole=False)

    assert opened(out).completed == 2


def test_one_driver_at_a_time(tmp_path: Path) -> None:
    book = FileBook(str(tmp_path / "out.jsonl"), in_order=True)
    book.open(HEADER)

    with pytest.raises(JobStopped, match="another process writes"):
        FileBook(str(tmp_path / "out.jsonl"), in_order=True).open(HEADER)
    book.close(whole=False)
    assert opened(tmp_path / "out.jsonl").completed == 0


def test_a_line_that_comes_too_late_for_the_order_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    begun(out, 1, 3)
    book = FileBook(str(out), in_order=True)
    book.open(HEADER)

    with pytest.raises(JobStopped, match="lacks line 2"):
        book.write(record(2))
    book.close(whole=False)


def test_only_batches_that_are_not_recorded_are_kept_in_mind(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    book = FileBook(str(out), in_order=True)
    book.open(HEADER)
    for first in (1, 5, 9):
        book.accepted(Batch(f"b{first}", tuple(range(first, first + 4))))
    for line in (1, 2, 3, 4, 5):
        book.write(record(line))
    book.settle()
    book.close(whole=False)

    assert opened(out).batches == [Batch("b5", (5, 6, 7, 8)), Batch("b9", (9, 10, 11, 12))]


def test_lines_are_noted_as_ranges() -> None:
    lines = [1, 2, 3, 7, 9, 10]

    assert ranges(lines) == [[1, 3], [7, 7], [9, 10]]
    assert list(unrolled(ranges(lines))) == lines
    assert read_journal([HEADER.text()], "x", lambda lines: True).header == HEADER


def test_marks_take_a_bit_for_each_line() -> None:
    marks = Marks(10_000_000)

    assert marks.add(10_000_000)
    assert not marks.add(10_000_000)
    assert not marks.add(10_000_001)
    assert not marks.add(0)
    assert marks.have([10_000_000])
    assert not marks.have([1, 10_000_000])
    assert len(marks._bits) < 1_300_000


def test_a_record_holds_the_output_as_it_was_written() -> None:
    output = '{"x": 1.00000000000000000001, "t": "a\u2028", "id": "no", "n": [1, {"state": 2}]}'
    text = f'{{"id":"{ID}","state":"completed","output":{output},"error":null}}'

    made = result(7, text)

    assert made == Record(7, True, f'{{"line":7,"id":"{ID}","output":{output}}}\n'.encode())
    assert line_of(made.text) == 7


@pytest.mark.parametrize("state", ["queued", "running", "waiting"])
def test_of_what_has_not_ended_there_is_no_record(state: str) -> None:
    assert result(1, f'{{"id":"{ID}","state":"{state}","output":null,"error":null}}') is None


def test_a_canceled_task_is_an_error_that_says_so() -> None:
    made = result(1, f'{{"id":"{ID}","state":"canceled","output":null,"error":null}}')

    assert made is not None
    assert (made.good, b'"type": "canceled"' in made.text) == (False, True)
    assert line_of(refused(9, {"type": "x"}).text) == 9


@pytest.mark.parametrize(
    ("out", "errors"),
    [
        ("out.jsonl", "out.errors.jsonl"),
        ("a.b/out", "a.b/out.errors"),
        ("/x/out.v2.jsonl", "/x/out.v2.errors.jsonl"),
        (".hidden", ".hidden.errors"),
        ("s3://bucket/out.jsonl", "s3://bucket/out.errors.jsonl"),
    ],
)
def test_errors_stand_beside_the_output(out: str, errors: str) -> None:
    assert errors_of(out) == errors


@pytest.fixture
def memory() -> Any:
    files = fsspec.filesystem("memory")
    files.store.clear()
    return files


def test_under_a_url_the_output_is_there_when_it_is_whole(tmp_path: Path) -> None:
    """fsspec's own way to a disk keeps to that as object stores do."""
    out, url = tmp_path / "out.jsonl", f"file://{tmp_path}/out.jsonl"
    book = UrlBook(url)
    book.open(HEADER)
    book.write(record(1))
    book.write(record(4, good=False))
    book.settle()
    book.close(whole=False)
    unfinished = [path.name for path in tmp_path.iterdir()]

    again = UrlBook(url)
    start = again.open(replace(HEADER, id="j2"))
    again.write(record(1))
    again.write(record(4, good=False))
    again.close(whole=True)

    assert unfinished == ["out.jsonl.job"]
    assert (start.header.id, start.is_fresh, start.knows_batches) == ("j1", True, False)
    assert out.read_bytes() == record(1).text
    assert (tmp_path / "out.errors.jsonl").read_bytes() == record(4, good=False).text
    with pytest.raises(WrongUsage, match="another AGENT"):
        UrlBook(url).open(replace(HEADER, agent="x"))


def test_under_a_url_what_was_canceled_is_noted_as_well(memory: Any) -> None:
    book = book_at("memory://b/out.jsonl", "input")
    book.open(HEADER)
    book.canceled(so=True)
    book.close(whole=False)

    assert book_at("memory://b/out.jsonl", "input").open(HEADER).canceled


def test_under_a_url_nothing_that_is_there_already_is_written_over(memory: Any) -> None:
    memory.pipe_file("/b/out.jsonl", b"mine")

    with pytest.raises(WrongUsage, match="is there already"):
        book_at("memory://b/out.jsonl", "input").open(HEADER)
    assert memory.cat_file("/b/out.jsonl") == b"mine"


def test_a_url_that_nobody_knows_is_told_in_a_line() -> None:
    with pytest.raises(WrongUsage, match=r"nowhere://b/out\.jsonl: "):
        book_at("nowhere://b/out.jsonl", "input")
