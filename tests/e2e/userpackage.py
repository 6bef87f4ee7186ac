"""Somebody else's package, far from our checkout: an agent with data, a dependency, a setting and a secret."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

AGENT = """
import os
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import fortune

from agents import Agent, Context

KEY = os.environ["SHOP_KEY"]  # read at import, as many clients do


class Shop(Agent[str, list[str]]):
    name = "shop"

    async def run(self, ctx: Context, question: str) -> list[str]:
        greeting = Path(__file__).with_name("greeting.txt").read_text()
        found = [greeting, os.environ["SHOP_TOWN"], fortune.TEXT, version("fortune")]
        return [*found, sha256(KEY.encode()).hexdigest()]
"""
SETTINGS = """
[agents.shop]
agent = "shopping:Shop"

[runtime]
packages = ["./src/shopping"]
pip = ["./wheels/fortune-1.5-py3-none-any.whl"]
env = {SHOP_TOWN = "Ulm"}
secrets = ["SHOP_KEY"]
"""


@dataclass(frozen=True, slots=True)
class UserPackage:
    """Where it lies."""

    folder: Path

    @property
    def settings(self) -> tuple[str, str]:
        return "--settings", str(self.folder / "rubato.toml")

    def greet(self, greeting: str) -> None:
        (self.folder / "src" / "shopping" / "greeting.txt").write_text(greeting)


def make_package(folder: Path) -> UserPackage:
    made = UserPackage(folder)
    (folder / "src" / "shopping").mkdir(parents=True)
    (folder / "src" / "shopping" / "__init__.py").write_text(AGENT)
    (folder / "rubato.toml").write_text(SETTINGS)
    made.greet("hello")
    make_wheel(folder / "wheels")
    return made


def make_wheel(folder: Path, name: str = "fortune", version: str = "1.5") -> Path:
    """One that needs nothing else, and no index."""
    folder.mkdir(exist_ok=True)
    path, info = folder / f"{name}-{version}-py3-none-any.whl", f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{name}.py", "TEXT = 'a wheel turns'\n")
        file.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", "")
    return path
