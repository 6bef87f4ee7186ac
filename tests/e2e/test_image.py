"""Workers and replicas in containers of an image, as far as Ray's own part in it goes: podman has a stand-in."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.e2e.commands import ROOT, house

pytestmark = [pytest.mark.ray, pytest.mark.long, pytest.mark.timeout(600)]

BOXED = """
import logging
import os

from agents import Agent, Context


class Boxed(Agent[str, list[str]]):
    name = "boxed"

    async def run(self, ctx: Context, question: str) -> list[str]:
        logging.info("boxed %s", question)
        here = os.environ
        return [here["IN_IMAGE"], here["TOWN"], here["BOX_KEY"][:4], here.get("OF_THE_NODE", "")]
"""
SETTINGS = """
[agents.boxed]
agent = "boxed:Boxed"
[artifacts]
url = "memory://artifacts"
[runtime]
image = "shop/boxed:1"
env = {TOWN = "Ulm"}
secrets = ["BOX_KEY"]
"""


def test_an_image_has_workers_and_replicas_and_they_have_secrets_and_environment(tmp_path: Path) -> None:
    (tmp_path / "image").mkdir()
    (tmp_path / "image" / "boxed.py").write_text(BOXED)
    settings = tmp_path / "rubato.toml"
    settings.write_text(SETTINGS)
    podman = tmp_path / "bin" / "podman"
    podman.parent.mkdir()
    podman.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P "{ROOT}/tests/e2e/podman.py" "$@"\n')
    podman.chmod(0o755)
    image = str(tmp_path / "image")
    env = {"STANDS_IN_PYTHON": sys.executable, "STANDS_IN_PATH": image, "PYTHONPATH": image, "OF_THE_NODE": "seen"}

    with house(tmp_path, BOX_KEY="hush-hush", PATH=f"{podman.parent}:{os.environ['PATH']}", **env) as made:
        up = made.end("up", "--port", str(made.port), "--settings", str(settings))
        assert up.returncode == 0, up.stderr
        live = made.json("run", "boxed", '"now"')
        task = made.json("submit", "boxed", '"later"', "--wait")["task"]
        logged = made.run("logs", task["id"])

        settings.write_text(SETTINGS.replace("memory://artifacts", ""))
        refused = made.end("deploy", "--settings", str(settings))

    assert live == task["output"] == ["shop/boxed:1", "Ulm", "hush", ""]
    assert "boxed later" in logged
    assert refused.returncode == 1
    assert "[artifacts] url must be a URL" in refused.stderr
