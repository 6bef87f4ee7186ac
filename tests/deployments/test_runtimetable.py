"""[runtime] of the settings: what it takes, and what it refuses in a line."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployments.runtimetable import RuntimeTable
from deployments.settings import SettingsProblem, load


def read(folder: Path, text: str) -> RuntimeTable:
    path = folder / "rubato.toml"
    path.write_text(f"[runtime]\n{text}\n")
    return load(path, {}, {}).runtime


def test_paths_start_at_the_settings_file(tmp_path: Path) -> None:
    found = read(tmp_path, 'packages = ["./shop", "../lib/stock"]\npip = ["./w/a-1-py3-none-any.whl", "httpx>=0.28"]')

    assert found.packages == [str(tmp_path / "shop"), str(tmp_path.parent / "lib" / "stock")]
    assert found.pip == [str(tmp_path / "w/a-1-py3-none-any.whl"), "httpx>=0.28"]
    assert read(tmp_path, 'pip = "needs.txt"').pip == str(tmp_path / "needs.txt")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            'packges = ["./shop"]',
            "runtime.packges (rubato.toml): there is no such setting; did you mean 'runtime.packages'",
        ),
        ('image = "a/b:1"\npip = ["x==1"]', "image and pip exclude each other"),
        ('image = "a/b:1"\npip = "x.txt"\npackages = ["y"]', "image and packages and pip exclude each other"),
        ('pip = ["--index-url=http://x"]', "'--index-url=http://x' is not a requirement"),
        ('env = {KEY = "x"}\nsecrets = ["KEY", "B"]', "KEY: in env and in secrets"),
        ('secrets = ["1KEY"]', "'1KEY' is not a name of an environment variable"),
        ('secrets = ["A B"]', "'A B' is not a name of an environment variable"),
        ('secrets = ["RAY_AUTH_TOKEN"]', "RAY_AUTH_TOKEN is not yours to set here"),
        ('env = {RUBATO_KEY = "x"}', "RUBATO_KEY is not yours to set here"),
        ('env = {PYTHONPATH = "x"}', "PYTHONPATH is not yours to set here"),
        ('env = {TOWN = "a\\u0000b"}', "a value of the environment has no zero byte"),
        ("env = {TOWN = 3}", "runtime.env.TOWN (rubato.toml): Input should be a valid string"),
    ],
)
def test_what_does_not_hold_is_refused_in_a_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(SettingsProblem) as refused:
        read(tmp_path, text)

    (line,) = refused.value.problems
    assert says in line
