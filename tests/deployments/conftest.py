"""What several modules of these tests start with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agents import Realtime
from agents.artifacts import FolderArtifacts
from agents.catalog import load
from cluster.ledger import Ledger
from deployments.measures import Measures, Unmeasured
from deployments.replica import Links, Replica

from .clerks import Clerk, Make
from .driving import hosting
from .ledgers import Direct, Unreachable


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    Clerk.gate = asyncio.Event()
    for kept in (Clerk.asked, Clerk.ended, Clerk.left):
        kept.clear()
    async with hosting() as host:

        def make(
            agent: type[Clerk] = Clerk, ledger: Ledger | None = None, measures: Measures | None = None, **policy: Any
        ) -> Replica:
            links = Links(Unreachable(), Unreachable()) if ledger is None else Links(ledger, Direct(ledger))
            links = links._replace(measures=measures or Unmeasured())
            entry = load(f"tests.deployments.clerks:{agent.__name__}")
            app = Replica(entry, agent(), Realtime(**policy), partial(FolderArtifacts, tmp_path), links)
            host(app)
            return app

        yield make
