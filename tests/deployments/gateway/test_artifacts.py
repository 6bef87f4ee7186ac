"""What a caller may rely on who brings bytes, or fetches them."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from cluster.ledger import Ledger

from .conftest import LIMITS, Build, reaching

pytestmark = pytest.mark.slow

DATA = b"%PDF-1.7\x00\xff"
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
async def client(build: Build, ledger: Ledger) -> AsyncIterator[httpx.AsyncClient]:
    """Of an application of its own: it bounds what it does at once, and that belongs to the loop of a test."""
    async with reaching(build(ledger)) as client:
        yield client


def kept(folder: Path) -> list[Path]:
    """The files below a folder."""
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_bytes_come_back_as_they_were_sent(client: httpx.AsyncClient) -> None:
    put = await client.put("/v1/artifacts?name=a.pdf", content=DATA, headers={"Content-Type": "application/pdf"})
    got = await client.get(put.headers["location"])

    assert put.status_code == 201
    assert put.json() == {"sha256": SHA256, "size": len(DATA), "media_type": "application/pdf", "name": "a.pdf"}
    assert got.content == DATA
    assert (got.headers["content-type"], got.headers["x-content-type-options"]) == (
        "application/octet-stream",
        "nosniff",
    )


async def test_an_artifact_is_an_input_as_it_was_answered(client: httpx.AsyncClient) -> None:
    artifact = (await client.put("/v1/artifacts", content=DATA)).json()

    answer = await client.post("/v1/tasks", json={"agent": "reader", "input": artifact})

    assert (answer.status_code, answer.json()["input"]) == (202, artifact)


async def test_large_bytes_and_none_at_all_are_kept(client: httpx.AsyncClient) -> None:
    for data in (b"x" * LIMITS.artifact, b""):
        put = await client.put("/v1/artifacts", content=data)

        assert (put.status_code, put.json()["size"]) == (201, len(data))
        assert (await client.get(put.headers["location"])).content == data


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('attachment; filename="a b.pdf"', "a b.pdf"),
        ("attachment; filename=a.pdf", "a.pdf"),
        ("inline; FileName*=UTF-8''%C3%BC.pdf; filename=u.pdf", "ü.pdf"),
        ('attachment; filename="ü.pdf"', "ü.pdf"),
        ('attachment; filename="../../etc/passwd"', "passwd"),
        ('attachment; filename="C:\\\\up\\\\a.pdf"', "a.pdf"),
        ("attachment", ""),
        ("filename", ""),
    ],
)
async def test_the_name_comes_from_content_disposition(client: httpx.AsyncClient, disposition: str, name: str) -> None:
    answer = await client.put("/v1/artifacts", content=DATA, headers={b"Content-Disposition": disposition.encode()})

    assert answer.json()["name"] == name


@pytest.mark.parametrize(
    ("stated", "name", "kept"),
    [
        (None, "a.pdf", "application/pdf"),
        (None, "a", "application/octet-stream"),
        ("application/x-www-form-urlencoded", "a.png", "image/png"),
        ("text/plain; charset=utf-8", "a.png", "text/plain; charset=utf-8"),
    ],
)
async def test_the_media_type_is_the_stated_one_else_what_the_name_says(
    client: httpx.AsyncClient, stated: str | None, name: str, kept: str
) -> None:
    headers = {"Content-Type": stated} if stated else {}

    answer = await client.put(f"/v1/artifacts?name={name}", content=DATA, headers=headers)

    assert answer.json()["media_type"] == kept


@pytest.mark.parametrize(
    ("query", "headers", "status"),
    [
        ("", {"Content-Type": "multipart/form-data; boundary=x"}, 400),
        ("", {"Content-Type": "pdf"}, 400),
        ("", {"Content-Disposition": f'attachment; filename="{"x" * 256}"'}, 400),
        ("", {"Content-Disposition": "attachment; filename*=UTF-8''a%00b"}, 400),
        ("?name=" + "x" * 256, {}, 422),
        ("?name=a%00b", {}, 422),
        ("?nmae=a", {}, 422),
    ],
)
async def test_what_cannot_be_kept_beside_the_bytes_is_refused(
    client: httpx.AsyncClient, tmp_path: Path, query: str, headers: dict[str, str], status: int
) -> None:
    answer = await client.put(f"/v1/artifacts{query}", content=DATA, headers=headers)

    assert answer.status_code == status
    assert not kept(tmp_path)


async def test_an_upload_over_the_limit_ends_while_it_is_read_and_nothing_is_kept(
    client: httpx.AsyncClient, tmp_path: Path
) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 100_000
            yield b"x" * 100_000

    answer = await client.put("/v1/artifacts", content=endless())

    assert (answer.status_code, answer.json()["type"]) == (413, "/problems/too-large")
    assert sent <= LIMITS.artifact + 200_000
    assert not kept(tmp_path)


async def test_an_upload_that_says_it_is_too_large_is_refused_unread(client: httpx.AsyncClient) -> None:
    async def unread() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    answer = await client.put("/v1/artifacts", content=unread(), headers={"Content-Length": str(LIMITS.artifact + 1)})

    assert answer.status_code == 413


@pytest.mark.parametrize("sha256", ["0" * 64, "abc", "..%2f..%2fetc%2fpasswd", "A" * 64])
async def test_an_unknown_artifact_is_a_404(client: httpx.AsyncClient, sha256: str) -> None:
    answer = await client.get(f"/v1/artifacts/{sha256}")

    assert answer.status_code == 404
    assert answer.json()["type"] in ("/problems/unknown-artifact", "/problems/unknown-route")


async def test_a_damaged_artifact_is_not_given_out(client: httpx.AsyncClient, tmp_path: Path) -> None:
    await client.put("/v1/artifacts", content=DATA)
    kept(tmp_path)[0].write_bytes(b"other")

    answer = await client.get(f"/v1/artifacts/{SHA256}")

    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/unknown-artifact")
