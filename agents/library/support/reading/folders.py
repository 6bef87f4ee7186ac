"""A folder of documents, read into passages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from agents import RubatoError
from agents.library.support.records import Passage

from .blocks import Block
from .html import read_html
from .markdown import read_markdown
from .passages import passages
from .plaintext import read_text

READERS: dict[str, Callable[[str], list[Block]]] = {
    **dict.fromkeys((".md", ".markdown"), read_markdown),
    **dict.fromkeys((".html", ".htm", ".xhtml"), read_html),
    **dict.fromkeys((".txt", ".text"), read_text),
}


class NothingToRead(RubatoError):
    """There is no document to answer from; the message names the folder and what it should hold."""


def read_folders(folders: Iterable[Path]) -> list[Passage]:
    """Every passage of these folders' documents, file by file; a path may also be one document.

    Raises NothingToRead for a path that does not exist, or that holds no document with any text.
    """
    found: dict[Path, str] = {}
    for folder in folders:
        documents = dict(_documents(folder))
        if not documents:
            raise NothingToRead(f"{folder} is or holds no document; expected files that end in {', '.join(READERS)}")
        for path, name in documents.items():
            found.setdefault(path, name)
    made = [passage for path, name in found.items() for passage in read_document(path, name)]
    if not made:
        raise NothingToRead(f"no text in any of {', '.join(found.values()) or 'no folders'}")
    return made


def read_document(path: Path, name: str) -> list[Passage]:
    """The passages of one document, cited as `name`; bytes that are not UTF-8 read as Windows-1252."""
    raw = path.read_bytes()
    try:
        source = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        source = raw.decode("cp1252", errors="replace")
    source = source.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    return passages(name, READERS[path.suffix.lower()](source))


def _documents(folder: Path) -> Iterator[tuple[Path, str]]:
    """The documents in and below a folder, by real path, as a reader would name them; hidden ones are left out.

    A link is followed only to a place inside the folder: what lies outside was not meant to be quoted.
    """
    if not folder.exists():
        raise NothingToRead(f"{folder} does not exist; point `folders` at a folder of {', '.join(READERS)} files")
    root = folder.resolve()
    if root.is_file():
        if root.suffix.lower() in READERS:
            yield root, root.name
        return
    for path in sorted(root.rglob("*")):
        inside = path.relative_to(root)
        hidden = any(part.startswith(".") for part in inside.parts)
        if path.suffix.lower() in READERS and not hidden and path.is_file() and path.resolve().is_relative_to(root):
            yield path.resolve(), f"{root.name}/{inside.as_posix()}"
