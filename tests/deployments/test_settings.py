from __future__ import annotations

from pathlib import Path

import pytest

from cluster.nodekinds import NodeKind
from deployments.pooltable import PoolTable
from deployments.settings import Settings, SettingsProblem, load


def write(folder: Path, text: str) -> Path:
    path = folder / "rubato.toml"
    path.write_text(text)
    return path


def problems(path: Path, env: dict[str, str]) -> list[str]:
    with pytest.raises(SettingsProblem) as caught:
        load(path, env, {})
    return sorted(caught.value.problems)


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    settings = load(write(tmp_path, ""), {}, {})

    assert settings == Settings()
    assert (settings.serve.host, settings.serve.port) == ("127.0.0.1", 8000)


def test_the_environment_is_over_the_file_and_a_flag_over_both(tmp_path: Path) -> None:
    path = write(tmp_path, "[serve]\nport = 1001\nhost = '127.0.0.2'\n[pool]\nworkers = 3\n")
    env = {"RUBATO_SERVE_PORT": "1002", "RUBATO_POOL_WORKERS": "4", "RUBATO_TEST_POSTGRES": "x", "PATH": "/bin"}

    settings = load(path, env, {"serve": {"port": 1003}})

    assert (settings.serve.port, settings.serve.host, settings.pool.workers) == (1003, "127.0.0.2", 4)


def test_what_the_commands_read_from_the_environment_is_no_setting(tmp_path: Path) -> None:
    names = ("RUBATO_STATE", "RUBATO_URL", "RUBATO_KEY", "RUBATO_ADMIN_KEY")

    assert load(write(tmp_path, ""), dict.fromkeys(names, "x"), {}) == Settings()


def test_every_problem_is_listed_at_once_with_where_it_stands(tmp_path: Path) -> None:
    path = write(tmp_path, "[serve]\nport = 70000\nprot = 1\n[pool]\nworkers = 'many'\n[agents.x]\nagent = 'nocolon'\n")

    found = problems(path, {"RUBATO_SERVE_DASHBORD": "1"})

    assert len(found) == 5
    assert any("RUBATO_SERVE_DASHBORD" in line and "serve.dashboard" in line for line in found)
    assert any(line.startswith("serve.prot (rubato.toml)") and "'serve.port'?" in line for line in found)
    assert any(line.startswith("serve.port (rubato.toml)") and "65535" in line for line in found)
    assert any(line.startswith("pool.workers (rubato.toml)") for line in found)
    assert any(line.startswith("agents.x.agent (rubato.toml)") for line in found)


def test_an_unknown_table_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    assert problems(write(tmp_path, "[stor]\nurl = 'x'\n"), {}) == [
        "stor (rubato.toml): there is no such setting; did you mean 'store'?"
    ]


@pytest.mark.parametrize("bytes", ["0", "16777217"])
def test_what_a_run_may_record_is_bounded(tmp_path: Path, bytes: str) -> None:
    (found,) = problems(write(tmp_path, ""), {"RUBATO_POOL_RESULT_BYTES": bytes})

    assert found.startswith("RUBATO_POOL_RESULT_BYTES: ")
    assert load(write(tmp_path, "[pool]\nresult_bytes = 16777216\n"), {}, {}).pool.result_bytes == 16 * 2**20


def test_a_name_that_no_agent_may_have_is_refused(tmp_path: Path) -> None:
    assert "'Loud'" in problems(write(tmp_path, "[agents.Loud]\nagent = 'm:C'\n"), {})[0]


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("mysql://u:secret@db/x", "mysql is not a kind of store; give the path of a SQLite file, or postgresql://"),
        ("postgresql://u:secret@db:far/x", "that is not a URL"),
        ("postgresql://u:se/secret@db/x", "that is not a URL; in a password, / @ : and such are written %2F %40 %3A"),
    ],
)
def test_a_store_that_cannot_be_is_refused_and_its_password_not_shown(tmp_path: Path, url: str, why: str) -> None:
    (found,) = problems(write(tmp_path, ""), {"RUBATO_STORE_URL": url})

    assert found.startswith(f"RUBATO_STORE_URL: {why}")
    assert "secret" not in found


def test_a_store_is_a_file_or_on_a_server(tmp_path: Path) -> None:
    path = write(tmp_path, "[store]\nurl = 'postgresql://u:p@db/x'\n")

    assert load(path, {}, {}).store.url == "postgresql://u:p@db/x"
    assert load(path, {"RUBATO_STORE_URL": "postgres://db/y"}, {}).store.url == "postgres://db/y"
    assert load(path, {}, {"store": {"url": "/t.db"}}).store.url == "/t.db"


def test_a_relative_path_in_the_file_starts_at_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    path = write(tmp_path, "[store]\nurl = 'tasks.db'\n[artifacts]\nurl = 's3://bucket/x'\n")

    settings = load(path, {}, {})

    assert settings.store.url == str(tmp_path / "tasks.db")
    assert settings.artifacts.url == "s3://bucket/x"
    assert load(path, {}, {"store": {"url": "t.db"}}).store.url == str(tmp_path / "elsewhere" / "t.db")


@pytest.mark.parametrize("text", ["serve = [", "[serve]\nport = 1\nport = 2\n"])
def test_a_file_that_is_not_toml_is_named(tmp_path: Path, text: str) -> None:
    assert "is not TOML" in problems(write(tmp_path, text), {})[0]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert str(tmp_path / "none.toml") in problems(tmp_path / "none.toml", {})[0]


def test_our_own_file_holds() -> None:
    load(Path(__file__).parents[2] / "rubato.toml", {}, {})


def test_what_is_over_is_kept_for_a_month_unless_something_else_is_said(tmp_path: Path) -> None:
    assert load(write(tmp_path, ""), {}, {}).retention.model_dump() == {
        "ended_after": 30,
        "artifacts_after": 30,
        "sessions_after": 30,
    }
    path = write(tmp_path, "[retention]\nended_after = 0\nartifacts_after = 0.5\nsessions_after = 7\n")
    assert load(path, {}, {}).retention.model_dump() == {
        "ended_after": 0,
        "artifacts_after": 0.5,
        "sessions_after": 7,
    }


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("ended_after = -1", "greater than or equal to 0"),
        ("artifacts_after = 0.01", "must be 0, or an hour (0.042) at least"),
        ("artifact_after = 1", "there is no such setting; did you mean 'retention.artifacts_after'?"),
    ],
)
def test_an_age_that_cannot_be_is_refused(tmp_path: Path, line: str, why: str) -> None:
    (found,) = problems(write(tmp_path, f"[retention]\n{line}\n"), {})

    assert why in found


def test_the_pool_has_bounds_and_kinds_of_nodes(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "[pool]\nmin = 1\nmax = 9\nidle = 30\nspot_patience = 5\nold_versions = 0\n"
        "[pool.kinds.cheap]\nresources = { CPU = 8 }\nmarket = 'spot'\nprice = 0.1\nmax_nodes = 3\n"
        "[pool.kinds.gpu]\nresources = { GPU = 1 }\nlabels = { 'ray.io/accelerator-type' = 'A100' }\n",
    )

    pool = load(path, {"RUBATO_POOL_TOTAL": "20"}, {}).pool

    assert (pool.min, pool.max, pool.total, pool.idle, pool.spot_patience, pool.old_versions) == (1, 9, 20, 30, 5, 0)
    assert pool.node_kinds() == [
        NodeKind("cheap", {"CPU": 8}, {"ray.io/market-type": "spot"}, price=0.1, max_nodes=3),
        NodeKind("gpu", {"GPU": 1}, {"ray.io/accelerator-type": "A100"}),
    ]


@pytest.mark.parametrize(
    ("keys", "elastic", "bounds"),
    [
        ({}, True, (0, 1024)),
        ({}, False, (3, 3)),
        ({"min": 0}, False, (0, 3)),
        ({"max": 9}, False, (3, 9)),
        ({"max": 2}, False, (2, 2)),
        ({"min": 5}, False, (5, 5)),
        ({"min": 1, "max": 4}, True, (1, 4)),
    ],
)
def test_where_nodes_do_not_come_and_go_the_bounds_are_the_workers(
    keys: dict[str, int], elastic: bool, bounds: tuple[int, int]
) -> None:
    assert PoolTable(workers=3, **keys).bounds(elastic=elastic) == bounds


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("min = -1", ".min: Input should be greater than or equal to 0"),
        ("max = 0", ".max: Input should be greater than or equal to 1"),
        ("min = 3\nmax = 2", ": min is 3, and max is 2: at least min must be allowed"),
        ("idle = 0", ".idle: Input should be greater than or equal to 1"),
        ("spot_pacience = 5", ".spot_pacience: there is no such setting; did you mean 'pool.spot_patience'?"),
        ("[pool.kinds.a]\nprice = -1", ".kinds.a.price: Input should be greater than or equal to 0"),
        ("[pool.kinds.a]\nmax_nodes = -1", ".kinds.a.max_nodes: Input should be greater than or equal to 0"),
        ("[pool.kinds.a]\nprise = 1", ".kinds.a.prise: there is no such setting; did you mean 'pool.kinds.a.price'?"),
        ("[pool.kinds.a]\nmarket = 'sport'", ".kinds.a.market: Input should be 'spot' or 'on_demand'"),
        ("[pool.kinds.a.resources]\nCPU = -1", ".kinds.a.resources.CPU: Input should be greater than or equal to 0"),
        ("[pool.kinds.a.labels]\nzone = 'b c'", ".kinds.a.labels.zone: 'b c' is not a value of a label"),
        ("[pool.kinds.'a b']", ".kinds: 'a b' is not a name of a kind of nodes: it must match"),
        (
            "[pool.kinds.a]\nmarket = 'on_demand'\nlabels = { 'ray.io/market-type' = 'spot' }",
            ".kinds.a: market is 'on_demand', and the label ray.io/market-type is 'spot'",
        ),
    ],
)
def test_a_pool_that_cannot_be_is_refused_in_one_line(tmp_path: Path, text: str, problem: str) -> None:
    (found,) = problems(write(tmp_path, f"[pool]\n{text}\n"), {})

    assert f"pool{problem}" in found.replace(" (rubato.toml)", "")
    assert "\n" not in found


def test_a_key_of_an_agents_table_is_refused_with_the_nearest(tmp_path: Path) -> None:
    (found, *_) = problems(write(tmp_path, "[agents.x]\nagnet = 'm:C'\nagent = 'm:C'\n"), {})

    assert found == "agents.x.agnet (rubato.toml): there is no such setting; did you mean 'agents.x.agent'?"
