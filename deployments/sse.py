"""Server-sent events, as they go over the wire."""

from __future__ import annotations

HEARTBEAT = 4.0  # seconds of silence after which a comment is sent

MEDIA_TYPE = "text/event-stream"
HEADERS = {
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # a proxy that buffers would keep events back until the stream ends
}

BEAT = b": still here\n\n"
RETRY = b"retry: 1000\n\n"  # milliseconds after which a client that was cut off comes back


def encode(type: str, data: str, seq: int | None = None) -> bytes:
    """One event; `data` is JSON text, `seq` what a client sends back as Last-Event-ID."""
    if "\n" in data or "\r" in data:  # in JSON they only stand between tokens, but here they would end the line
        data = data.replace("\r", " ").replace("\n", " ")
    head = "" if seq is None else f"id: {seq}\n"
    return f"{head}event: {type}\ndata: {data}\n\n".encode()
