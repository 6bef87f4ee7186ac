"""What goes into an agent and what comes out of it: checked, with every problem named and nothing repeated."""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, TypeVar

import pytest
from pydantic import BaseModel, ConfigDict, Field, RootModel, computed_field
from typing_extensions import TypedDict

from agents import Agent, Context, Permanent, Retryable
from agents.agent import input_type, output_type, read_input, write_output
from agents.errors import InvalidInput, InvalidOutput, NotLoadable, Overloaded, StepError, StepMismatch

T = TypeVar("T")
SECRET = "hunter2"


@dataclass
class Place:
    street: str


class Extra(TypedDict):
    note: str


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


class Lenient(BaseModel):
    model_config = ConfigDict(extra="allow")
    level: int = 0


class Question(BaseModel):
    text: str
    at: float = 0
    place: Place | None = None
    extra: Extra | None = None
    pet: Annotated[Cat | Dog, Field(discriminator="kind")] | None = None
    others: list[Question] = []
    lenient: Lenient = Lenient()
    free: Any = None


class Answer(BaseModel):
    text_body: str = Field(alias="textBody")
    score: float = 1.0

    @computed_field
    def length(self) -> int:
        return len(self.text_body)


class Bot(Agent[Question, Answer]):
    name = "bot"

    async def run(self, ctx: Context, question: Question) -> Answer:
        return Answer(textBody=question.text)


class Renamed(Bot):
    name = "renamed"


def agent(given: Any, answer: Any) -> type[Agent[Any, Any]]:
    class Typed(Agent[given, answer]):
        name = "typed"

    return Typed


def test_the_types_are_those_of_the_class_or_of_what_it_derives_from() -> None:
    assert (input_type(Bot), output_type(Bot)) == (input_type(Renamed), output_type(Renamed)) == (Question, Answer)
    assert input_type(agent(list[int], None)) == list[int]


def test_an_agent_without_types_is_told_how_to_say_them() -> None:
    class Bare(Agent):
        name = "bare"

    class Open(Agent[T, Answer], Generic[T]):
        name = "open"

    for each in (Bare, Open, Agent):
        with pytest.raises(TypeError, match=rf"{each.__name__} does not say its types: write class {each.__name__}\("):
            input_type(each)


def test_an_input_is_read_as_its_type() -> None:
    body = '{"text": "a\\u0000ä", "place": {"street": "b"}, "pet": {"kind": "dog"}, "others": [{"text": "c"}]}'

    question = read_input(Bot, body)

    assert question == read_input(Bot, body.encode())
    assert question == Question(text="a\0ä", place=Place("b"), pet=Dog(kind="dog"), others=[Question(text="c")])


def refusal(body: str | bytes, kind: type[Agent[Any, Any]] = Bot) -> tuple[str, ...]:
    with pytest.raises(InvalidInput) as caught:
        read_input(kind, body)
    assert str(caught.value) == f"this is not an input of agent {kind.name!r}"
    assert caught.value.__cause__ is None
    for told in (str(caught.value), repr(caught.value), *caught.value.problems):
        assert SECRET not in told
    return caught.value.problems


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"tone": SECRET}, "tone"),
        ({"place": {"street": "a", "city": SECRET}}, "place.city"),
        ({"extra": {"note": "a", "by": SECRET}}, "extra.by"),
        ({"pet": {"kind": "cat", "name": SECRET}}, "pet.cat.name"),
        (
            {"others": [{"text": "a"}, {"text": "a", "others": [{"text": "a", "tone": SECRET}]}]},
            "others.1.others.0.tone",
        ),
        ({"lenient": {"mood": SECRET}}, "lenient.mood"),
    ],
)
def test_an_unknown_field_is_refused_at_any_depth(fields: dict[str, Any], where: str) -> None:
    (problem,) = refusal(json.dumps({"text": "a"} | fields))

    assert problem.startswith(f"{where}: ")


def test_unknown_keys_of_a_free_field_are_its_content() -> None:
    assert read_input(Bot, '{"text": "a", "free": {"any": {"thing": 1}}}').free == {"any": {"thing": 1}}


def test_every_problem_is_listed_and_nothing_that_was_sent() -> None:
    body = {
        "at": SECRET,
        "place": [SECRET],
        "pet": {"kind": SECRET},
        "others": [{"text": {"a": SECRET}}],
        "tone": SECRET,
    }

    told = refusal(json.dumps(body))

    assert [problem.partition(":")[0] for problem in told] == ["text", "at", "place", "pet", "others.0.text", "tone"]
    assert told[0] == "text: Field required"
    assert told[3] == "pet: 'kind' must be one of 'cat', 'dog'"


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        f'{{"text": "{SECRET}',
        f'{{"text": "{SECRET}"}} {{}}',
        f"{{'text': '{SECRET}'}}",
        '{"text": "\\ud800"}',
        '{"text": "\ud800"}',
        b'{"text": "\xff"}',
        b"\xff\xfe{\0}\0",
        '{"text": "a\0"}',
        "[" * 100_000,
        '{"text": "a", "at": NaN}',
        '{"text": "a", "free": [Infinity]}',
        '{"text": "a", "free": -Infinity}',
        b'{"text": "a", "at": NaN}',
        '{"text": "a", "at": 1' + "0" * 5000 + "}",
    ],
)
def test_what_is_not_json_is_refused_as_such(body: str | bytes) -> None:
    (problem,) = refusal(body)

    assert problem.startswith(("body: Invalid JSON", "body: Input should be a valid string", "at: "))


@pytest.mark.parametrize("body", ["null", "[]", "3", '"a"', "true"])
def test_json_of_another_shape_is_refused(body: str) -> None:
    (problem,) = refusal(body)

    assert problem.startswith("body: ")


def test_numbers_that_are_only_words_are_words() -> None:
    assert read_input(Bot, '{"text": "NaN and Infinity"}').text == "NaN and Infinity"


def test_a_flood_of_problems_is_cut_and_counted() -> None:
    told = refusal(json.dumps([SECRET] * 60), agent(list[int], None))

    assert len(told) == 50
    assert told[-1] == "and 11 more"


def test_a_field_with_an_endless_name_is_cut() -> None:
    (problem,) = refusal(json.dumps({"text": "a", "x" * 100_000: 1}))

    assert len(problem) < 200


def test_an_output_is_written_as_its_schema_has_it() -> None:
    assert json.loads(write_output(Bot, Answer(textBody="abc"))) == {"textBody": "abc", "score": 1.0, "length": 3}


@pytest.mark.parametrize(
    ("kind", "output", "text"),
    [
        (list[int], [1, 2], "[1,2]"),
        (None, None, "null"),
        (tuple[int, str], (1, "a"), '[1,"a"]'),
        (RootModel[dict[str, int]], RootModel[dict[str, int]]({"a": 1}), '{"a":1}'),
        (Any, {"a": [1, None]}, '{"a":[1,null]}'),
        (str, "NaN \0 𝄞", '"NaN \\u0000 𝄞"'),
    ],
)
def test_an_output_of_any_type_is_written(kind: Any, output: Any, text: str) -> None:
    assert write_output(agent(None, kind), output) == text


@pytest.mark.parametrize(
    ("kind", "output", "why"),
    [
        (Answer, None, "agent 'typed' returned NoneType, which is not a Answer: "),
        (Answer, "text", "agent 'typed' returned str, which is not a Answer: "),
        (
            Answer,
            Question(text="a"),
            "agent 'typed' returned Question, which is not a Answer: text_body: Field required",
        ),
        (Answer, {"textBody": 3}, "returned dict"),
        (list[Answer], [Answer(textBody="a"), 3], r"which is not a list\[.*Answer\]: 1: "),
        (int, "many", "which is not a int: body: "),
        (str, "\ud800", "surrogates"),
        (float, float("nan"), "JSON has no NaN"),
        (Any, [float("inf")], "JSON has no Infinity"),
        (Any, object(), "Unable to serialize"),
        (None, 3, "returned int"),
    ],
)
def test_an_output_of_another_type_is_refused(kind: Any, output: Any, why: str) -> None:
    with pytest.raises(InvalidOutput, match=why) as caught:
        write_output(agent(None, kind), output)

    assert isinstance(caught.value, Permanent)


async def test_an_agent_that_forgot_run_says_so() -> None:
    class Idle(Agent[Question, Answer]):
        name = "idle"

    with pytest.raises(NotImplementedError, match=r"Idle has no run\(\)"):
        await Idle().run(None, Question(text="a"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "error",
    [
        Permanent("no such customer"),
        Retryable("busy", after=3.0),
        Retryable(),
        InvalidInput("not an input", ("text: Field required",)),
        InvalidOutput("not an output"),
        StepError("draft#0", "is wrong"),
        StepMismatch("draft#0", "was other"),
        Overloaded("full", retry_after=2.0),
        NotLoadable("a:B", "there is no module a"),
    ],
)
def test_an_error_keeps_what_it_says_on_its_way_between_processes(error: Exception) -> None:
    again = pickle.loads(pickle.dumps(error))

    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)
