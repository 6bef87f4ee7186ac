"""The pages about tasks say nothing that does not run."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from agents import Agent, Background, Context
from tests.deployments.whole import Said, whole

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Support(Agent[Said, Said]):
    """Stands for the agent of that name, which needs models; its steps are called the same."""

    name = "support"
    background = Background()

    async def run(self, ctx: Context, question: Said) -> Said:
        found = await ctx.step("retrieve", str.lower, question.text)
        return Said(text=await ctx.step("answer", str.upper, found))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tasks.md", "schedules.md", "access.md"])
def test_each_command_on_the_page_works(tmp_path: Path, name: str) -> None:
    """In order, in one shell that ends at the first that fails."""
    blocks = BLOCK.findall((ROOT / "docs" / name).read_text())

    with whole(tmp_path, [Support], guarded=name == "access.md") as running:
        script = "\n".join(blocks).replace("http://127.0.0.1:8000", running.url).replace("curl -s", "curl -sSf")
        ended = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=ROOT,
            env={**os.environ, "RUBATO_URL": running.url},
            capture_output=True,
            text=True,
            timeout=100,
        )

    assert ended.returncode == 0, ended.stderr
    assert len(blocks) >= 5
