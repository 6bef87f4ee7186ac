"""Which documents a folder holds, and what is said when it holds none."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.library.support.reading import NothingToRead, read_folders


def files(*folders: Path) -> set[str]:
    return {passage.file for passage in read_folders(folders)}


def test_markdown_html_and_text_are_read_at_any_depth(tmp_path: Path) -> None:
    for name in ("a.md", "b.HTML", "deep/er/c.txt", "d.pdf", ".hidden/e.md", ".f.md"):
        path = tmp_path / "docs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("Some words.")

    assert files(tmp_path / "docs") == {"docs/a.md", "docs/b.HTML", "docs/deep/er/c.txt"}


def test_a_path_may_be_one_document_and_none_is_read_twice(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("Some words.")

    assert len(read_folders([tmp_path / "a.md", tmp_path])) == 1


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.md").write_text("A secret.")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "link.md").symlink_to(tmp_path / "secret.md")
    (tmp_path / "docs" / "open.md").write_text("No secret.")

    assert files(tmp_path / "docs") == {"docs/open.md"}


def test_bytes_that_are_not_utf8_are_read_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "old.txt").write_bytes("Café – garçon.".encode("cp1252"))
    (tmp_path / "new.txt").write_bytes("\ufeffCafé\0.\r\nNext.".encode())

    assert {passage.text for passage in read_folders([tmp_path])} == {"Café – garçon.", "Café.\nNext."}


def test_a_missing_folder_is_named_with_what_it_should_be(tmp_path: Path) -> None:
    with pytest.raises(NothingToRead, match=r"manual does not exist.*\.md"):
        read_folders([tmp_path / "manual"])


def test_a_folder_without_documents_is_named_with_what_it_should_hold(tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")

    with pytest.raises(NothingToRead, match=r"holds no document.*\.html"):
        read_folders([tmp_path])
    with pytest.raises(NothingToRead, match=r"picture\.png is or holds no document"):
        read_folders([tmp_path / "picture.png"])


def test_documents_without_a_word_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty.md").write_text("\n\n# Only a heading\n")

    with pytest.raises(NothingToRead, match=r"no text in any of .*empty\.md"):
        read_folders([tmp_path])
