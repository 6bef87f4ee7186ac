"""docs/tasks.md says nothing that does not run."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from tests.deployments.whole import whole

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_each_command_on_the_page_works(tmp_path: Path) -> None:
    """In order, in one shell; a stand-in takes the place of the agent that needs models."""
    page = (ROOT / "docs" / "tasks.md").read_text()
    blocks = [block.replace("support", "parrot") for block in BLOCK.findall(page)]

    with whole(tmp_path) as running:
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
    assert len(blocks) >= 3
