"""What a user would write instead: the echo agent's handler on plain FastAPI, served by uvicorn alone."""

from __future__ import annotations

from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()


class Message(BaseModel):
    """Some text."""

    text: str


@app.post("/run")
async def run(message: Message) -> Message:
    return message
