"""What may be sent with a request, field by field, and a sentence for whatever does not fit."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any, Literal, Self, TypeVar, get_args
from urllib.parse import unquote_to_bytes

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.json_schema import WithJsonSchema
from starlette.requests import Request

from agents.ids import is_id
from agents.journal import KEY_LIMIT
from agents.policies import YEAR
from agents.resources import Market
from cluster.task import AGENT_KEY, DEFAULT_KEY, Filter, State

from .. import bodies
from ..documents import LATEST
from ..nearest import suggestion
from ..problems import Refused, invalid_request

BATCH = 10_000  # inputs of one batch
PAGE = 200  # items of one page
EMPTY = 1024  # bytes of a body that is to say nothing
EARLIEST = datetime(1971, 1, 1, tzinfo=UTC).timestamp()
MOST = 1_000_000  # tasks that a limit may allow

MARKETS = get_args(Market)

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)

Filled = TypeVar("Filled", bound=BaseModel)


def _moment(value: Any) -> float:
    """Seconds since the epoch. Lax parsers take a bare number or a local time too; here neither is sent by intent."""
    if not (isinstance(value, str) and _RFC3339.fullmatch(value)):
        raise ValueError("must be a moment as RFC 3339 with its offset, such as 2030-01-31T08:00:00Z")
    at = datetime.fromisoformat(value.upper())
    if not EARLIEST <= at.replace(tzinfo=UTC).timestamp() <= LATEST:
        raise ValueError("must lie between the years 1971 and 9998")
    return at.timestamp()


def _short(text: str) -> str:
    if not 1 <= len(text.encode()) <= 255:
        raise ValueError("must have 1 to 255 bytes")
    return text


def _no_agents_key(key: str) -> str:
    if key.startswith(AGENT_KEY):
        raise ValueError(f"must not begin with {AGENT_KEY!r}: that is where the limits of an agent stand")
    return key


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must have no characters that cannot be printed")
    return text


def _id(text: str) -> str:
    if not is_id(text):
        raise ValueError("must be an id: a UUID in lower case, as answers show it")
    return text


def _to_come(moment: float) -> float:
    if moment <= time.time():
        raise ValueError("has passed already")
    return moment


def _market(value: Any) -> Any:
    if value not in MARKETS:
        raise ValueError(f"must be one of {', '.join(MARKETS)}{suggestion(str(value), MARKETS)}")
    return value


Moment = Annotated[float, BeforeValidator(_moment), WithJsonSchema({"type": "string", "format": "date-time"})]
ToCome = Annotated[Moment, AfterValidator(_to_come)]
Short = Annotated[str, Field(strict=True, min_length=1, max_length=255), AfterValidator(_short)]
LimitKey = Annotated[
    Short, AfterValidator(_no_agents_key), Field(json_schema_extra={"not": {"pattern": f"^{AGENT_KEY}"}})
]
SessionId = Annotated[Short, AfterValidator(_printable)]
Id = Annotated[str, AfterValidator(_id), WithJsonSchema({"type": "string", "format": "uuid"})]


class Form(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RetryOptions(Form):
    """Before attempt n+1 it waits `base` * 2**(n-1) seconds, at most `cap`, plus up to `jitter` of itself by chance."""

    base: Annotated[float | None, Field(strict=True, ge=0, le=YEAR, description="seconds")] = None
    cap: Annotated[float | None, Field(strict=True, ge=0, le=YEAR, description="seconds")] = None
    jitter: Annotated[float | None, Field(strict=True, ge=0, le=1)] = None


class CommonOptions(Form):
    """What may be asked of any task; what is not said is the agent's own policy."""

    priority: Annotated[int, Field(strict=True, ge=-100, le=100, description="higher goes first")] = 0
    timeout: Annotated[
        float | None, Field(strict=True, gt=0, le=YEAR, description="running seconds of one attempt")
    ] = None
    max_attempts: Annotated[int | None, Field(strict=True, ge=1, le=100)] = None
    retry: RetryOptions | None = None
    limit_key: Annotated[LimitKey, Field(description="whose limits it counts against, and whose turn it takes")] = (
        DEFAULT_KEY
    )
    tags: Annotated[list[Short], Field(max_length=32, description="to find the task by")] = Field(default_factory=list)
    market: Annotated[Market, BeforeValidator(_market), Field(description="the kind of node that it may run on")] = (
        "any"
    )


class TaskOptions(CommonOptions):
    """What may be asked of a task; what is not said is the agent's own policy."""

    run_at: Annotated[Moment | None, Field(description="not before this moment")] = None
    deadline: Annotated[Moment | None, Field(description="the end of all: later it neither starts nor goes on")] = None
    session: Annotated[SessionId | None, Field(description="whose memory the run reads and writes")] = None

    @field_validator("deadline")
    @classmethod
    def _after_run_at(cls, deadline: float | None, info: ValidationInfo) -> float | None:
        run_at = info.data.get("run_at")
        if deadline is not None and run_at is not None and deadline <= run_at:
            raise ValueError("must come after run_at")
        return deadline


class NewTask(Form):
    """One task: `input` is what the agent's input schema asks for."""

    agent: Annotated[str, Field(strict=True)]
    input: Any
    options: TaskOptions = Field(default_factory=TaskOptions)  # pydantic copies a default at length, every time


class NewBatch(Form):
    """Tasks of one agent that are accepted together or not at all."""

    agent: Annotated[str, Field(strict=True)]
    inputs: Annotated[list[Any], Field(min_length=1, max_length=BATCH)]
    options: TaskOptions = Field(default_factory=TaskOptions)  # pydantic copies a default at length, every time


class _Which(Form):
    """Which tasks; all that is said must hold."""

    agent: Short | None = None
    tag: Short | None = None
    batch_id: Id | None = None
    parent_id: Id | None = None
    idempotency_key: Short | None = None
    session: SessionId | None = None

    @property
    def filter(self) -> Filter:
        return Filter(**self.model_dump(include={*Filter._fields}))


class ListQuery(_Which):
    """Which tasks a list holds; all that is said must hold."""

    state: State | None = None
    cursor: Annotated[Id | None, Field(description="`next_cursor` of the page before")] = None
    limit: Annotated[int, Field(ge=1, le=PAGE)] = 50


class _Several(_Which):
    """Of which tasks something is asked; all that is said must hold, and something must be."""

    @model_validator(mode="after")
    def _not_all(self) -> Self:
        if self.filter == Filter():
            raise ValueError(f"must say at least one of {', '.join(type(self).model_fields)}")
        return self


class CancelFilter(_Several):
    """Which tasks to cancel, of those that have not ended; all that is said must hold, and something must be."""

    state: Literal["queued", "running", "waiting"] | None = None


class RetryFilter(_Several):
    """Which tasks to retry, of those that failed; all that is said must hold, and something must be.

    Canceled ones only where `state` asks for them.
    """

    state: Literal["failed", "canceled"] | None = None


class Fork(Form):
    """From which recorded step the new task goes on (its name and key, such as `draft#0`), and on which input."""

    from_step: Annotated[str, Field(strict=True, min_length=1, max_length=2 * KEY_LIMIT)]
    input: Any = None


class NewRate(Form):
    """How many tasks may start in how many seconds: so many at once, then one whenever its part of the time is over."""

    count: Annotated[int, Field(strict=True, ge=0, le=MOST)]
    seconds: Annotated[float, Field(strict=True, ge=0.001, le=YEAR)]


class NewLimit(Form):
    """The limits of a key, all of them: null is no limit, 0 is nothing at all."""

    concurrency: Annotated[int | None, Field(strict=True, ge=0, le=MOST, description="tasks running at once")] = None
    rate: NewRate | None = None
    weight: Annotated[float, Field(strict=True, ge=0.001, le=1000, description="its turns against other keys'")] = 1.0
    paused_until: Annotated[ToCome | None, Field(description="start nothing before; the year 9999: without end")] = None


class StepsQuery(Form):
    """Which steps of a journal."""

    cursor: Annotated[int, Field(ge=-1, lt=2**31, description="`next_cursor` of the page before")] = -1


class LimitQuery(Form):
    """Which of the keys that have limits."""

    cursor: Annotated[Short | None, Field(description="`next_cursor` of the page before")] = None
    limit: Annotated[int, Field(ge=1, le=PAGE)] = 50


class Pause(Form):
    """Until when; without it, until it is resumed."""

    until: ToCome | None = None


class UploadQuery(Form):
    """What the artifact is called."""

    name: Short | None = None


@cache
def _adapter(form: type[BaseModel]) -> TypeAdapter[Any]:
    return TypeAdapter(form)


def fill(form: type[Filled], value: Any) -> Filled:
    """The value as this form. Raises Refused (422) with a sentence for each field that does not fit."""
    try:
        filled: Filled = _adapter(form).validate_python(value)
    except ValidationError as error:
        raise Refused(invalid_request("Mend what is listed in `errors`.", _sentences(form, error))) from None
    return filled


def query(request: Request, form: type[Filled]) -> Filled:
    """The query of the request as this form."""
    return fill(form, dict(request.query_params))


def path_text(request: Request, name: str) -> str:
    """A part of the path that callers choose. Raises Refused (422) for one that cannot be kept."""
    text: str = request.path_params[name]
    garbled = _is_garbled(text, request.scope.get("raw_path") or b"")
    if garbled or "\0" in text or not 1 <= len(text.encode("utf-8", "replace")) <= 255:
        detail = f"{name}: must have 1 to 255 bytes of UTF-8, none of them NUL"
        raise Refused(invalid_request("Mend what is listed in `errors`.", (detail,)))
    return text


async def no_fields(request: Request, what: str) -> None:
    """Raises Refused (422) for a body that says anything."""
    body = await bodies.read(request, EMPTY)
    if body.strip() and bodies.parse(body) != {}:
        raise Refused(invalid_request(f"{what} has no fields.", ("body: must be empty",)))


def refuse_query(request: Request, known: Mapping[str, Any] | frozenset[str]) -> None:
    """Raises Refused (422) for a query parameter that is not known, is given twice, or cannot be kept."""
    if not request.scope["query_string"]:
        return
    errors, seen = [], set()
    for name, value in request.query_params.multi_items():
        if name not in known:
            errors.append(f"{name[:60]}: there is no such query parameter{suggestion(name, known)}")
        elif name in seen:
            errors.append(f"{name}: is given twice")
        elif "\0" in value:
            errors.append(f"{name}: holds the character NUL")
        elif _is_garbled(value, request.scope["query_string"]):
            errors.append(f"{name}: is not UTF-8")
        seen.add(name)
    if errors:
        raise Refused(invalid_request("Mend what is listed in `errors`.", tuple(errors)))


def _is_garbled(text: str, encoded: bytes) -> bool:
    """Whether this part of a URL has lost bytes that are not UTF-8: U+FFFD stands in their place."""
    if "\N{REPLACEMENT CHARACTER}" not in text:
        return False
    try:
        unquote_to_bytes(encoded).decode()
    except UnicodeDecodeError:
        return True
    return False


def _sentences(form: type[BaseModel], error: ValidationError) -> tuple[str, ...]:
    return tuple(
        _sentence(form, problem)
        for problem in error.errors(include_url=False, include_input=False, include_context=False)
    )


def _sentence(form: type[BaseModel], problem: Any) -> str:
    place = [str(part) for part in problem["loc"]]
    name = ".".join(place)[:120] or "body"
    if problem["type"] == "extra_forbidden":
        known = _within(form, place[:-1])
        kind = "option" if issubclass(known, CommonOptions) else "field"
        return f"{name}: there is no such {kind}{suggestion(place[-1], known.model_fields)}"
    if problem["type"] == "model_type":
        return f"{name}: must be an object"
    return f"{name}: {problem['msg'].removeprefix('Value error, ')}"


def _within(form: type[BaseModel], place: list[str]) -> type[BaseModel]:
    """The form within the form that stands at this place."""
    for part in place:
        kind = form.model_fields[part].annotation
        parts = [each for each in (kind, *get_args(kind)) if isinstance(each, type) and issubclass(each, BaseModel)]
        form = parts[0] if parts else form
    return form
