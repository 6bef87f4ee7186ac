"""What a user would write instead: the echo agent's handler on plain FastAPI, served by uvicorn alone."""

from __future__ import annotations

from collections.abc import AsyncIterator

from fastapi import FastAPI, WebSocket
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

app = FastAPI()


class Message(BaseModel):
    """Some text."""

    text: str


@app.post("/run")
async def run(message: Message) -> Message:
    return message


@app.post("/stream")
async def stream(message: Message) -> StreamingResponse:
    return StreamingResponse(_events(message), media_type="text/event-stream")


async def _events(message: Message) -> AsyncIterator[str]:
    yield f"event: output\ndata: {message.model_dump_json()}\n\n"


@app.websocket("/socket")
async def echo(socket: WebSocket) -> None:
    await socket.accept()
    async for text in socket.iter_text():
        await socket.send_text(text)
