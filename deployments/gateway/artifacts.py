"""Routes that take bytes in and give them back."""

from __future__ import annotations

import asyncio
from tempfile import SpooledTemporaryFile
from typing import IO

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from agents.artifacts import Artifact, ArtifactMissing, ArtifactStore, keep

from .. import bodies
from ..problems import Refused, not_found, too_large
from .answers import json_answer
from .forms import UploadQuery, query
from .headers import DEFAULT_MEDIA_TYPE, file_name, media_type
from .services import Services, tenant_of

WHAT = "An artifact"
PIECE = 1024 * 1024  # bytes that are collected before they go to the disk
AT_ONCE = 2  # artifacts held in memory as a whole


class Artifacts:
    """`PUT /v1/artifacts` and `GET /v1/artifacts/{sha256}`."""

    def __init__(self, services: Services) -> None:
        self._store = services.artifacts
        self._limit = services.limits.artifact
        self._room = asyncio.Semaphore(AT_ONCE)

    async def put(self, request: Request) -> Response:
        """However many upload, and however slowly, they wait on disk; memory holds two of them."""
        name = query(request, UploadQuery).name or file_name(request)
        kind = media_type(request, name)
        store = self._store(tenant_of(request))
        bodies.refuse_announced(request, self._limit, WHAT)
        with SpooledTemporaryFile(max_size=PIECE) as file:
            await _receive(request, file, self._limit)
            async with self._room:
                artifact = await asyncio.to_thread(_keep, store, file, name, kind)
        return json_answer(artifact.model_dump_json(), 201, [("Location", f"/v1/artifacts/{artifact.sha256}")])

    async def get(self, request: Request) -> Response:
        """The bytes, and nothing a browser would run: what they are is said by whoever refers to them."""
        sha256: str = request.path_params["sha256"]
        try:
            data = await asyncio.to_thread(self._store(tenant_of(request)).read, sha256)
        except ArtifactMissing as error:
            raise Refused(not_found("artifact", f"There is no readable artifact {sha256[:80]!r}.")) from error
        headers = {"ETag": f'"{sha256}"', "X-Content-Type-Options": "nosniff", "Content-Disposition": "attachment"}
        return Response(data, headers=headers, media_type=DEFAULT_MEDIA_TYPE)


async def _receive(request: Request, file: IO[bytes], limit: int) -> None:
    """Raises Refused as soon as more comes than the limit, or the caller leaves."""
    piece, size = bytearray(), 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                raise Refused(too_large(WHAT, limit))
            piece += chunk
            if len(piece) >= PIECE:
                await asyncio.to_thread(file.write, bytes(piece))
                piece.clear()
    except ClientDisconnect:
        raise Refused(bodies.incomplete()) from None
    await asyncio.to_thread(file.write, bytes(piece))


def _keep(store: ArtifactStore, file: IO[bytes], name: str, kind: str) -> Artifact:
    file.seek(0)
    return keep(store, file.read(), name=name, media_type=kind)
