"""Which agents are loaded, and how each that is not is named with the reason."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import agents
from agents.catalog import Catalog, load
from agents.errors import NotLoadable

ROOT = Path(agents.__file__).parents[1]
NUMBERS = itertools.count()

Write = Callable[[str], str]

HEAD = """
from __future__ import annotations
from pydantic import BaseModel
from agents import Agent, Background, Context, Realtime

class Text(BaseModel):
    text: str
"""

SOUND = (
    HEAD
    + """
class Bot(Agent[Text, Text]):
    name = "bot"
    async def run(self, ctx: Context, input: Text) -> Text:
        return input
"""
)


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a module of a new name onto the path."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(text: str) -> str:
        name = f"written_{next(NUMBERS)}"
        (tmp_path / f"{name}.py").write_text(text)
        return name

    return write


def refusal(reference: str) -> str:
    with pytest.raises(NotLoadable) as caught:
        load(reference)
    assert caught.value.reference == reference
    assert str(caught.value) == f"{reference}: {caught.value.reason}"
    return caught.value.reason


def test_an_agent_is_loaded_by_module_and_name(write: Write) -> None:
    module = write(SOUND)

    catalog = Catalog.load([f"{module}:Bot", "agents.library.echo:Echo", f"{module}:Bot"])

    assert list(catalog) == ["bot", "echo"]
    assert catalog["bot"].reference == f"{module}:Bot"
    assert (len(catalog), "other" in catalog) == (2, False)


@pytest.mark.parametrize(
    "reference",
    [
        "",
        ":",
        "bot",
        "bot:",
        ":Bot",
        "a:b:c",
        ".bot:Bot",
        "a..b:Bot",
        "a.b.:Bot",
        "a/b.py:Bot",
        "a b:Bot",
        "a:Bot()",
        "a:b.C",
        "a: B",
    ],
)
def test_what_is_no_reference_is_refused_with_an_example(reference: str) -> None:
    assert refusal(reference) == "an agent is named module:Class, such as shop.support:Support"


def test_a_missing_module_is_named(write: Write) -> None:
    module = write("x = 1")

    assert refusal("no_such_shop:Bot") == "there is no module no_such_shop on PYTHONPATH"
    assert refusal("no_such_shop.support.bots:Bot") == "there is no module no_such_shop on PYTHONPATH"
    assert refusal(f"{module}.bots:Bot") == f"there is no module {module}.bots on PYTHONPATH"


def test_a_module_that_a_module_misses_is_named_as_its_own_failure(write: Write) -> None:
    module = write("import no_such_dependency")

    assert refusal(f"{module}:Bot") == (
        f"importing {module} failed: ModuleNotFoundError: No module named 'no_such_dependency' ({module}.py, line 1)"
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("x = 1\n1 / 0", "failed: ZeroDivisionError: division by zero ({module}.py, line 2)"),
        ("raise ValueError('no key set')", "failed: ValueError: no key set ({module}.py, line 1)"),
        ("def f(:", "failed: SyntaxError: invalid syntax ({module}.py, line 1)"),
        ("from os import nothing", "failed: ImportError: cannot import name 'nothing' from 'os'"),
        (
            "import os\nos.nothing",
            "failed: AttributeError: module 'os' has no attribute 'nothing' ({module}.py, line 2)",
        ),
        ("None.agents", "failed: AttributeError: 'NoneType' object has no attribute 'agents'"),
        (
            "import sys\nsys.exit(2)",
            "ended the process ({module}.py, line 2); keep what runs under __name__ == '__main__'",
        ),
        (HEAD + "\nRealtime(deadline=0)", "failed: ValueError: realtime: deadline must be positive"),
    ],
)
def test_a_module_that_raises_is_refused_with_the_reason_and_the_line(write: Write, text: str, why: str) -> None:
    module = write(text)

    assert f"importing {module} {why.format(module=module)}" in refusal(f"{module}:Bot")


def test_a_module_without_that_class_names_those_it_has(write: Write) -> None:
    module = write(SOUND)

    assert refusal(f"{module}:Bott") == f"module {module} has no agent class Bott; it has Bot"
    assert refusal("json:Bot") == "module json has no agent class Bot"


@pytest.mark.parametrize("name", ["Text", "helper", "number", "instance"])
def test_what_is_not_an_agent_class_is_refused(write: Write, name: str) -> None:
    module = write(SOUND + "\nhelper = lambda: 1\nnumber = 1\ninstance = Bot()\n")

    assert refusal(f"{module}:{name}") == f"{name} in module {module} is not a class derived from agents.Agent"


@pytest.mark.parametrize("name", ["Bot", "1bot", "-bot", "a_b", "a b", "ä", "", "a" * 64, "bot\n", "a/b"])
def test_a_name_that_urls_and_metrics_cannot_carry_is_refused(write: Write, name: str) -> None:
    module = write(SOUND.replace('"bot"', repr(name)))

    assert refusal(f"{module}:Bot") == f"name {name!r} must match [a-z][a-z0-9-]{{0,62}}"


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('    name = "bot"\n', "", "name None must match"),
        ('"bot"', "3", "name 3 must match"),
        ("async def run", "def run", "run() must be async; put blocking work into ctx.step"),
        ("return input", "yield input", "run() must return its answer and not yield"),
        (", input: Text)", ")", "run() must take the context and the input"),
        ("async def run", "async def runs", "it has no run()"),
        ("    async def run", "    async def setup(self): ...\n    async def run", "setup() must be a plain method"),
        ("    async def run", "    def setup(self, path): ...\n    async def run", "setup() must be a plain method"),
        ("    async def run", "    def warmup(self, ctx): ...\n    async def run", "warmup() must be async"),
        ("    async def run", "    async def warmup(self): ...\n    async def run", "warmup() must be async and take"),
        ("    async def run", "    def simple(self, ctx, input): ...\n    async def run", "simple() must be async"),
        ("    async def run", "    async def simple(self, ctx): ...\n    async def run", "simple() must be async and"),
        ("    async def run", "    def __init__(self, path): ...\n    async def run", "must be made without arguments"),
        ('"bot"', '"bot"\n    realtime = background = None', "neither a realtime nor a background policy"),
        ('"bot"', '"bot"\n    realtime = 2.0', "realtime must be a Realtime and background a Background, or None"),
        ('"bot"', '"bot"\n    background = Background', "realtime must be a Realtime and background a Background"),
        ('"bot"', '"bot"\n    version = 2', "version must be text"),
        ('"bot"', '"bot"\n    version = "v" * 256', "version must be text of at most 255 bytes"),
        ("Agent[Text, Text]", "Agent", "Bot does not say its types: write class Bot(Agent[Input, Output])"),
        ("Agent[Text, Text]", "Agent[object(), Text]", "has no JSON Schema"),
        ("Agent[Text, Text]", "Agent[Text, Agent]", "its type Agent has no JSON Schema"),
        ("Agent[Text, Text]", 'Agent["Later", Text]', "has no JSON Schema"),
    ],
)
def test_an_agent_that_cannot_be_served_is_refused_with_the_reason(write: Write, old: str, new: str, why: str) -> None:
    assert old in SOUND
    module = write(SOUND.replace(old, new))

    assert why in refusal(f"{module}:Bot")


def test_everything_that_is_wrong_is_told_at_once(write: Write) -> None:
    module = write(SOUND.replace('"bot"', '"Bot"').replace("async def run", "def run"))

    told = refusal(f"{module}:Bot")

    assert "name 'Bot'" in told
    assert "run() must be async" in told


@pytest.mark.parametrize("policies", ["realtime = None", "background = None", "realtime = Realtime(deadline=1)"])
def test_one_policy_is_enough(write: Write, policies: str) -> None:
    module = write(SOUND.replace('"bot"', f'"bot"\n    {policies}'))

    assert load(f"{module}:Bot").name == "bot"


def test_two_agents_of_one_name_are_refused(write: Write) -> None:
    first, second = write(SOUND), write(SOUND)

    with pytest.raises(NotLoadable) as caught:
        Catalog.load([f"{first}:Bot", f"{second}:Bot"])

    assert str(caught.value) == f"{second}:Bot: its name 'bot' is taken by {first}:Bot"


def test_the_version_is_the_authors_or_tells_one_state_of_the_module_from_another(write: Write) -> None:
    same = [load(f"{write(SOUND)}:Bot").version for _ in range(2)]
    changed = load(f"{write(SOUND + '# changed')}:Bot").version
    declared = load(write(SOUND.replace('"bot"', '"bot"; version = "7"')) + ":Bot").version

    assert same[0] == same[1] != changed
    assert declared == "7"


SENTENCE = (
    "if it needs the OpenAI Agents SDK, which imports as `agents` just as Rubato does: the two cannot be in one "
    "process, so call the SDK from a program of its own"
)


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("from agents import Agent, Runner", "agents.Runner"),
        ("from agents import function_tool as tool", "agents.function_tool"),
        ("import agents\nagents.Runner", "agents.Runner"),
        ("from agents.extensions import handoff_prompt", "agents.extensions"),
        ("import agents.extensions.models", "agents.extensions"),
        ("from agents.errors import MaxTurns", "agents.errors.MaxTurns"),
    ],
)
def test_a_module_that_wants_the_openai_sdk_is_refused_with_that_sentence(write: Write, text: str, asked: str) -> None:
    module = write(text)

    told = refusal(f"{module}:Bot")

    assert told.startswith(f"there is no {asked} in Rubato's `agents`, which is the package of that name that loads")
    assert told.endswith(SENTENCE)


def test_the_sentence_is_told_when_a_module_of_a_module_wants_the_sdk(write: Write) -> None:
    inner = write("from agents import Runner")

    assert refusal(f"{write(f'import {inner}')}:Bot").endswith(SENTENCE)


def test_a_slip_of_the_pen_is_told_the_nearest_name(write: Write) -> None:
    assert "did you mean Background?" in refusal(f"{write('from agents import Backgroud')}:Bot")


def test_an_installed_sdk_is_said_to_be_hidden(write: Write, tmp_path: Path) -> None:
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "__init__.py").write_text("Runner = 1")

    assert f"(it hides {tmp_path / 'agents'})" in refusal(f"{write('from agents import Runner')}:Bot")


def run(folder: Path, code: str, *path: Path) -> str:
    """What a fresh process prints, with these folders on its path."""
    env = {"PYTHONPATH": ":".join(map(str, path))}
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_users_own_folder_called_agents_is_told_that_ours_hides_it(tmp_path: Path) -> None:
    own = tmp_path / "agents"
    own.mkdir()
    (own / "mybot.py").write_text(SOUND)
    (own / "__init__.py").touch()
    code = "from agents.catalog import load\ntry: load('agents.mybot:Bot')\nexcept Exception as error: print(error)"

    told = run(tmp_path, code, ROOT, tmp_path)

    assert told.strip() == (
        "agents.mybot:Bot: there is no agents.mybot in Rubato's `agents`, which is the package of that name that "
        f"loads (it hides {own}); a package of your own needs another name"
    )


def test_a_reference_into_our_agents_that_is_not_there_says_so() -> None:
    assert refusal("agents.nothing:Bot").startswith("there is no agents.nothing in Rubato's `agents`")
    assert refusal("agents.library.nothing.deep:Bot").startswith("there is no agents.library.nothing in Rubato's")


HEAVY = ["ray", "numpy", "fsspec", "onnxruntime", "fastapi", "starlette", "uvicorn", "rich", "typer", "httpx", "bm25s"]


@pytest.mark.slow
@pytest.mark.parametrize("module", ["agents", "agents.testing", "agents.catalog", "agents.library.echo"])
def test_agents_loads_without_ray_and_without_what_only_some_need(module: str) -> None:
    code = f"import {module}, sys; print([name for name in sys.modules if name.partition('.')[0] in {HEAVY}])"

    assert run(ROOT, code, ROOT).strip() == "[]"
