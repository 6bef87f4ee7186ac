"""The model is loaded once for all these tests: it is the real one."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.library.support.embedder import Embedder
from agents.library.support.index import Index
from agents.library.support.meanings import meanings
from agents.library.support.reading import read_folders

HANDBOOK = Path(__file__).parent / "handbook"


@pytest.fixture(scope="session")
def embed() -> Embedder:
    return Embedder()


@pytest.fixture(scope="session")
def handbook(embed: Embedder) -> Index:
    passages = read_folders([HANDBOOK])
    return Index(passages, meanings(passages, embed, cache=None), embed)
