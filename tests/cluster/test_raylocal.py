from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from cluster import raylocal
from cluster.raylocal import RayProblem, auth_mode, environment, make_folder, make_token, remove_folders
from deployments.ingress import free_ports


@pytest.mark.parametrize(
    ("env", "file", "mode"),
    [
        ({}, False, "disabled"),
        ({}, True, "token"),
        ({"RAY_AUTH_TOKEN": "x"}, False, "token"),
        ({"RAY_AUTH_TOKEN_PATH": "/x"}, False, "token"),
        ({"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN": "x"}, True, "disabled"),
    ],
)
def test_a_cluster_is_spoken_to_as_the_environment_says(
    env: dict[str, str], file: bool, mode: str, tmp_path: Path
) -> None:
    if file:
        (tmp_path / ".ray").mkdir()
        (tmp_path / ".ray" / "auth_token").write_text("x")

    assert auth_mode(env, tmp_path) == mode


def test_what_the_users_environment_says_of_ray_does_not_reach_a_ray_of_our_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "somebody else's")
    monkeypatch.setenv("RAY_ADDRESS", "far:1")

    env = environment("c1", tmp_path / "token", {"RAY_SERVE_X": "1"}, [Path("/ours"), Path("/shop")])

    assert (env["PYTHONPATH"], env["RAY_AUTH_MODE"], env["RAY_SERVE_X"]) == ("/ours:/shop", "token", "1")
    assert {"RAY_AUTH_TOKEN", "RAY_ADDRESS"} & env.keys() == set()


def test_keys_of_whoever_starts_it_reach_no_agents_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("RUBATO_KEY", "RUBATO_ADMIN_KEY"):
        monkeypatch.setenv(name, "rbt_secret")

    assert "rbt_secret" not in environment("c1", tmp_path / "token", {}, []).values()


def test_a_token_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    make_token(tmp_path / "token")
    first = (tmp_path / "token").read_text()
    make_token(tmp_path / "token")

    assert (tmp_path / "token").read_text() == first
    assert len(first) == 64
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600


def test_a_start_removes_what_earlier_ones_left_and_nothing_of_another_cluster(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(raylocal, "FOLDERS", tmp_path)
    old, other = make_folder("aaaaaaaa1"), make_folder("bbbbbbbb1")

    new = make_folder("aaaaaaaa1")

    assert sorted(tmp_path.iterdir()) == sorted([new, other])
    assert old not in (new, other)
    remove_folders("aaaaaaaa1")
    assert list(tmp_path.iterdir()) == [other]


def test_an_address_where_nothing_listens_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {**os.environ})
    (port,) = free_ports(1)

    with pytest.raises(RayProblem, match="nothing listens at RAY_ADDRESS"):
        raylocal.join(f"127.0.0.1:{port}", tmp_path, [])


def test_a_client_address_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(RayProblem, match="head node"):
        raylocal.join("ray://far:10001", tmp_path, [])
