"""A way to a server that a test can cut, or hold up, at the moment it wants."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from urllib.parse import urlsplit


class Proxy:
    """Passes bytes on between its callers and the server at `url`; its own `url` leads through it."""

    def __init__(self, url: str) -> None:
        self._server = urlsplit(url)
        self.url = ""
        self.accepts = True
        self._forth, self._back = asyncio.Event(), asyncio.Event()  # whether what is asked, or answered, passes
        self._lines: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Proxy:
        self.resume()
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._listener.sockets[0].getsockname()[1]
        user, _, _ = self._server.netloc.rpartition("@")
        self.url = self._server._replace(netloc=f"{user}@127.0.0.1:{port}").geturl()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.close()
        self.cut()
        await asyncio.gather(*self._lines, return_exceptions=True)

    def hold(self, *, forth: bool = False, back: bool = False) -> None:
        """Keep what is asked, or what is answered, until `resume`; connections stay open."""
        if forth:
            self._forth.clear()
        if back:
            self._back.clear()

    def resume(self) -> None:
        """Let everything pass."""
        self._forth.set()
        self._back.set()

    def cut(self) -> None:
        """End all connections on the callers' side at once; the server hears of it when it next reads."""
        for writer in self._writers:
            writer.transport.abort()

    def lose(self) -> None:
        """Cut, and forget what is held."""
        for line in self._lines:
            line.cancel()
        self.cut()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.accepts:
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_connection(self._server.hostname, self._server.port or 5432)
        self._writers.add(writer)
        ways = ((reader, far_writer, self._forth), (far_reader, writer, self._back))
        for way in ways:
            line = asyncio.create_task(_pass(*way))
            self._lines.add(line)
            line.add_done_callback(self._lines.discard)


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, open: asyncio.Event) -> None:
    try:
        with suppress(OSError):
            while data := await reader.read(65536):
                await open.wait()
                writer.write(data)
                await writer.drain()
    finally:
        writer.close()
