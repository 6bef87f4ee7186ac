"""`deploy` with real processes: new code and other agents for what runs, and nobody is turned away meanwhile."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.commands import House, house

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

SHOP = """
import asyncio

from agents import Agent, Context


class Shop(Agent[float, str]):
    name = "shop"

    async def run(self, ctx: Context, seconds: float) -> str:
        await ctx.step("pack", asyncio.sleep, seconds)
        return "first"
"""


WAITERS = """
from agents import Agent, Background, Context


class Stays(Agent[int, list[str]]):
    name = "stays"
    background = Background(upgrade="finish")

    async def run(self, ctx: Context, number: int) -> list[str]:
        began = await ctx.step("begin", lambda: "first")
        await ctx.signal("go")
        return [began, "first"]


class Moves(Stays):
    name = "moves"
    background = Background(upgrade="move")
"""


class Shop:
    """A house that serves one agent of somebody else's, by a settings file."""

    def __init__(self, folder: Path, house: House) -> None:
        self.house = house
        self._code = folder / "code" / "shopping.py"
        self._settings = folder / "rubato.toml"
        self.sell(SHOP)
        self.serve(shop="shopping:Shop")

    @property
    def settings(self) -> tuple[str, str]:
        return "--settings", str(self._settings)

    def sell(self, code: str) -> None:
        self._code.write_text(code)

    def hire(self, code: str) -> None:
        """Those who wait, beside the shop."""
        (self._code.parent / "waiting.py").write_text(code)

    @property
    def sold(self) -> str:
        """The code that lies there."""
        return self._code.read_text()

    def serve(self, **agents: str) -> None:
        self._settings.write_text("".join(f'[agents.{name}]\nagent = "{at}"\n' for name, at in agents.items()))

    def task(self, seconds: float) -> str:
        """The output of a task that takes so long."""
        output: str = self.house.json("submit", "shop", str(seconds), "--wait")["task"]["output"]
        return output

    def begin(self, agent: str) -> str:
        """A task that has recorded its first step, and waits for a signal."""
        id: str = self.house.json("submit", agent, "1")["id"]
        until(lambda: self.of(id)["state"] == "waiting", "the task waits")
        return id

    def go(self, id: str) -> list[str]:
        """What it ends with, once it may go on: the code of its step, and of its end."""
        httpx.post(f"{self.house.url}/v1/tasks/{id}/signals/go", json=1).raise_for_status()
        output: list[str] = self.house.lines("watch", id)[-1]["data"]["output"]
        return output

    def of(self, id: str) -> dict[str, Any]:
        found: dict[str, Any] = httpx.get(f"{self.house.url}/v1/tasks/{id}").json()
        return found

    def earlier(self) -> list[dict[str, Any]]:
        """Workers of an earlier version that stay."""
        return [row for row in self.house.json("status")["workers"] if "earlier" in row["kind"]]

    def waits_for(self, id: str) -> str | None:
        """What keeps a queued task from running."""
        waits = httpx.get(f"{self.house.url}/v1/tasks/{id}").json()["waiting_on"]
        return waits and str(waits["reason"])


def until(condition: Callable[[], bool], what: str, patience: float = 60.0) -> None:
    ends = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < ends, what
        time.sleep(0.2)


class Callers:
    """Somebody who asks at both tempos, again and again."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self.answers: Counter[tuple[str, int]] = Counter()

    def __enter__(self) -> Callers:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _ask(self) -> None:
        with httpx.Client(base_url=self._url, timeout=60) as http:
            while not self._over.is_set():
                self.answers["task", http.post("/v1/tasks", json={"agent": "shop", "input": 0}).status_code] += 1
                self.answers["run", http.post("/v1/agents/shop/run", json=0).status_code] += 1
                time.sleep(0.05)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("shop")
    (folder / "code").mkdir()
    with house(folder, PYTHONPATH=str(folder / "code")) as made:
        found = Shop(folder, made)
        ended = made.end("up", "--port", str(made.port), *found.settings)
        assert ended.returncode == 0, ended.stderr
        yield found


def test_new_code_and_another_agent_come_while_callers_ask_and_a_task_runs(shop: Shop) -> None:
    assert shop.house.run("deploy", "--dry-run", *shop.settings) == "nothing would be changed\n"
    began = shop.house.json("submit", "shop", "12")["id"]
    shop.house.json("submit", "shop", "0", "--wait")

    shop.sell(SHOP.replace("first", "second"))
    shop.serve(shop="shopping:Shop", echo="agents.library.echo:Echo")
    lines = shop.house.run("deploy", "--dry-run", *shop.settings).splitlines()
    assert lines == ["+ echo", "~ shop (the code is another)"]
    with Callers(shop.house.url) as callers:
        assert shop.house.json("deploy", *shop.settings) == {"changes": lines, "applied": True}

    assert callers.answers.keys() == {("task", 202), ("run", 200)}
    assert shop.task(0) == shop.house.json("run", "shop", "0") == "second"
    assert shop.house.json("run", "echo", '{"text": "x"}') == {"text": "x"}
    assert shop.house.lines("watch", began)[-1]["data"] == {"output": "first"}, "it ended with the code it began with"
    steps = httpx.get(f"{shop.house.url}/v1/tasks/{began}/steps").json()["items"]
    assert [(step["name"], step["attempt"]) for step in steps] == [("pack", 1)]
    assert shop.house.json("deploy", *shop.settings) == {"changes": [], "applied": False}


@pytest.mark.long
def test_an_agent_that_goes_leaves_its_tasks_and_says_why_they_wait(shop: Shop) -> None:
    shop.sell(SHOP.replace("first", "third"))
    shop.serve(shop="shopping:Shop", echo="agents.library.echo:Echo")
    shop.house.run("deploy", *shop.settings)
    due = datetime.now(UTC) + timedelta(seconds=20)
    id = shop.house.json("submit", "shop", "0", "--run-at", due.isoformat())["id"]
    shop.serve(echo="agents.library.echo:Echo")
    assert shop.house.json("deploy", *shop.settings)["changes"] == ["- shop"]

    assert list(shop.house.json("status")["agents"]) == ["echo"]
    assert httpx.get(f"{shop.house.url}/v1/agents/shop").status_code == 404
    time.sleep(max(0.0, (due - datetime.now(UTC)).total_seconds()))
    until(lambda: shop.waits_for(id) == "no_worker", "the task is due, and nobody there to run it")

    shop.serve(shop="shopping:Shop")
    shop.house.run("deploy", *shop.settings)
    assert shop.house.lines("watch", id)[-1]["data"] == {"output": "third"}


def test_code_that_cannot_be_loaded_changes_nothing(shop: Shop) -> None:
    before = shop.task(0)
    shop.sell("import nothing_of_this_name\n")

    ended = shop.house.end("deploy", *shop.settings)

    assert ended.returncode == 1
    assert "nothing_of_this_name" in ended.stderr
    assert shop.task(0) == shop.house.json("run", "shop", "0") == before


@pytest.mark.long
def test_what_was_there_before_a_deploy_that_failed_comes_back(shop: Shop) -> None:
    shop.sell(SHOP)
    shop.serve(shop="shopping:Shop")
    shop.house.run("deploy", *shop.settings)
    shop.sell(f"{SHOP}\n    def setup(self) -> None:\n        raise OSError('nothing is in stock')\n")
    shop.serve(shop="shopping:Shop", echo="agents.library.echo:Echo")
    failed = shop.house.end("deploy", *shop.settings)
    assert (failed.returncode, "nothing is in stock" in failed.stderr) == (1, True)

    shop.sell(SHOP)
    shop.serve(shop="shopping:Shop")
    again = shop.house.json("deploy", *shop.settings)

    assert again["changes"] == ["~ shop (the deploy before did not end)", "- echo"]
    assert shop.task(0) == shop.house.json("run", "shop", "0") == "first"
    assert shop.house.json("deploy", *shop.settings) == {"changes": [], "applied": False}


def test_what_only_up_can_decide_is_refused(shop: Shop) -> None:
    shop.sell(SHOP)
    shop.house.env["RUBATO_SERVE_HOST"] = "127.0.0.9"
    ended = shop.house.end("deploy", *shop.settings)
    del shop.house.env["RUBATO_SERVE_HOST"]

    assert ended.returncode == 1
    assert "serve.host: '127.0.0.1' -> '127.0.0.9'" in ended.stderr
    assert "down" in ended.stderr


def test_an_agent_that_no_node_can_hold_is_refused_with_what_each_lacks(shop: Shop) -> None:
    before = shop.task(0)
    shop.sell(SHOP.replace('name = "shop"', 'name = "shop"; background = Background(resources=Resources(gpus=8))'))
    shop.sell(shop.sold.replace("import Agent, Context", "import Agent, Background, Context, Resources"))

    ended = shop.house.end("deploy", *shop.settings)

    assert ended.returncode == 1
    assert "a worker of shop needs 8 GPU, and no kind of node can ever hold that: here (has no GPU)" in ended.stderr
    assert shop.task(0) == before


@pytest.mark.long
def test_tasks_finish_with_the_version_that_began_them_or_move_as_their_agents_say(shop: Shop) -> None:
    shop.sell(SHOP)
    shop.hire(WAITERS)
    shop.serve(shop="shopping:Shop", stays="waiting:Stays", moves="waiting:Moves")
    shop.house.run("deploy", *shop.settings)
    stays, orphan, moves = shop.begin("stays"), shop.begin("stays"), shop.begin("moves")

    shop.hire(WAITERS.replace("first", "second"))
    shop.house.run("deploy", *shop.settings)

    until(lambda: len(shop.earlier()) == 1, "one of them is enough for what waits")
    (row,) = shop.earlier()
    assert "0 queued, 0 running and 2 waiting of stays go on with version" in row["why"][0]["reason"]
    assert shop.go(shop.begin("stays")) == ["second", "second"]
    assert shop.go(moves) == ["first", "second"]
    assert shop.go(stays) == ["first", "first"]
    assert shop.task(0) == "first"  # it is not kept from others

    workers = [process for process in shop.house.processes() if process.name().startswith("ray::Worker")]
    min(workers, key=lambda process: process.create_time()).kill()
    assert shop.go(orphan) == ["first", "second"]
    (moved,) = [event for event in shop.house.lines("watch", orphan) if event["type"] == "moved"]
    assert moved["data"]["reason"] == f"no worker of version {moved['data']['from']} is left"
    until(lambda: not shop.earlier(), "nothing old is left")


@pytest.mark.long
def test_what_an_agent_that_goes_had_begun_finishes(shop: Shop) -> None:
    shop.hire(WAITERS)
    shop.serve(shop="shopping:Shop", stays="waiting:Stays", moves="waiting:Moves")
    shop.house.run("deploy", *shop.settings)
    stays, moves = shop.begin("stays"), shop.begin("moves")

    shop.serve(shop="shopping:Shop")
    shop.house.run("deploy", *shop.settings)

    assert shop.go(stays) == ["first", "first"]
    httpx.post(f"{shop.house.url}/v1/tasks/{moves}/signals/go", json=1).raise_for_status()
    until(lambda: shop.waits_for(moves) == "no_worker", "nobody is there to run it")
    until(lambda: not shop.earlier(), "nothing old is left")


@pytest.mark.long
def test_where_only_replicas_are_others_the_ledger_and_the_workers_go_on(shop: Shop) -> None:
    before = shop.house.json("status")
    shop.house.env["RUBATO_SERVE_INPUT_BYTES"] = "1000"
    shop.house.run("deploy", *shop.settings)
    del shop.house.env["RUBATO_SERVE_INPUT_BYTES"]

    after = shop.house.json("status")
    assert after["ticks"] >= before["ticks"] > 0  # another ledger would begin anew
    assert [row["workers"] for row in after["workers"]] == [row["workers"] for row in before["workers"]]
    assert httpx.post(f"{shop.house.url}/v1/agents/shop/run", content=b"0" * 2000).status_code == 413
