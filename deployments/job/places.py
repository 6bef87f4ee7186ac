"""Where an input is read and results are written: a file of the machine that the driver runs on, or a URL that fsspec
knows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from agents.artifacts import files_at

from .errors import JobStopped, WrongUsage


def is_url(place: str) -> bool:
    return "://" in plain(place)


def plain(place: str) -> str:
    """A file:// URL is a path as well."""
    return place.removeprefix("file://")


def errors_of(out: str) -> str:
    """Where the errors of OUT stand: out.jsonl has out.errors.jsonl beside it."""
    folder, slash, name = out.rpartition("/")
    stem, dot, suffix = name.rpartition(".")
    return f"{folder}{slash}{stem}.errors.{suffix}" if dot and stem else f"{out}.errors"


def journal_of(out: str) -> str:
    return f"{out}.job"


@contextmanager
def reading(place: str) -> Iterator[BinaryIO]:
    """The input, opened. Raises WrongUsage with the reason why it cannot be."""
    try:
        file = _open(place)
    except Exception as error:  # noqa: BLE001 - a file system's own errors are of any kind
        raise WrongUsage(f"{place}: {_reason(error)}") from None
    with file:
        yield file


def found_at(url: str) -> tuple[Any, str]:
    """The file system there and the path in it. Raises WrongUsage."""
    try:
        return files_at(url)
    except Exception as error:  # noqa: BLE001 - as above
        raise WrongUsage(f"{url}: {_reason(error)}") from None


@contextmanager
def writing(place: str, make: Callable[[str], JobStopped] = WrongUsage) -> Iterator[None]:
    """Around what writes there: whatever goes wrong is raised as what `make` makes of a sentence."""
    try:
        yield
    except OSError as error:
        raise make(f"{place}: {_reason(error)}") from None


def _open(place: str) -> BinaryIO:
    if not is_url(place):
        file = Path(plain(place))
        if file.exists() and not file.is_file():
            raise IsADirectoryError(0, "it is read twice, and so has to be a file")
        return file.open("rb")
    files, path = files_at(place)
    return cast(BinaryIO, files.open(path, "rb"))


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
