"""From a request's body to what the ledger is asked to accept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from http import HTTPStatus
from typing import Any

from agents.agent import read_input
from agents.catalog import Catalog, Entry
from agents.errors import InvalidInput
from cluster.bundles import Tasks
from cluster.lanes import Lane
from cluster.task import Options, Submission, Task, extra_json

from ..bodies import parse
from ..nearest import by_likeness
from ..problems import (
    ERRORS,
    Problem,
    Refused,
    conflict,
    invalid_input,
    invalid_request,
    not_found,
    problem_of,
    too_large,
)
from .forms import CommonOptions, NewBatch, NewTask, TaskOptions, fill
from .fragments import elements, member

ENVELOPE = 64 * 1024  # bytes that a body may have around its input: the agent's name and the options
NAMED = 20  # agents that a problem lists


@dataclass(frozen=True, slots=True)
class Order:
    """Checked inputs for one agent: `texts` is their JSON as it was sent, `whole` the parsed body."""

    entry: Entry
    texts: tuple[str, ...]
    options: Options
    whole: Any


def read_task(catalog: Catalog, body: bytes, limit: int) -> Order:
    """The order in a body of POST /v1/tasks. Raises Refused."""
    whole = parse(body)
    form = fill(NewTask, whole)
    entry = background_agent(catalog, form.agent)
    text = member(body.decode(), "input")
    check_input(entry, text, limit)
    return Order(entry, (text,), read_options(form.options, entry), whole)


def read_batch(catalog: Catalog, body: bytes, limit: int) -> Order:
    """The order in a body of POST /v1/tasks/batch. Raises Refused; it names each line that is wrong."""
    whole = parse(body)
    form = fill(NewBatch, whole)
    entry = background_agent(catalog, form.agent)
    options = read_options(form.options, entry)
    texts = tuple(elements(member(body.decode(), "inputs")))
    found = ((place, _problem(entry, text, limit, f"inputs.{place}")) for place, text in enumerate(texts))
    wrong = {place: problem for place, problem in found if problem}
    if wrong:
        raise Refused(_summary(entry, wrong, len(texts)))
    return Order(entry, texts, options, whole)


def read_run(entry: Entry, body: bytes, limit: int, session: str | None = None) -> Order:
    """The order in a body that is the input itself. Raises Refused."""
    whole = parse(body)
    text = body.decode().strip(" \t\r\n")
    check_input(entry, text, limit)
    return Order(entry, (text,), Options(session=session), whole)


def read_options(form: CommonOptions, entry: Entry) -> Options:
    """What is asked of a task; the parts of `retry` that are not said are the agent's own. Raises Refused."""
    given, retry = form.retry and form.retry.model_dump(exclude_none=True), None
    if given and entry.agent.background is not None:
        try:
            retry = asdict(replace(entry.agent.background.retry, **given))
        except ValueError as error:
            raise Refused(invalid_request("Mend what is listed in `errors`.", (f"options.{error}",))) from None
    run_at, deadline, session = (
        (form.run_at, form.deadline, form.session) if isinstance(form, TaskOptions) else (None, None, None)
    )
    fixed = (form.timeout, form.max_attempts, tuple(form.tags), form.limit_key)
    return Options(form.priority, run_at, *fixed, deadline, retry, session, form.market)


def submission(
    order: Order, *, tenant: str, route: str, key: str, now: float, ids: Iterable[str], batch_id: str | None = None
) -> Submission:
    """What the ledger is asked to accept: the order's tasks under these ids."""
    entry, options, policy = order.entry, order.options, order.entry.agent.background
    assert policy is not None, "background_agent lets no other agent pass"
    tags = json.dumps(options.tags) if options.tags else "[]"
    timeout = options.timeout or policy.timeout
    attempts = options.max_attempts or policy.max_attempts
    fixed = (options.priority, tags, batch_id, attempts, timeout, now, options.limit_key, options.deadline)
    extra = extra_json(retry=options.retry, session=options.session, market=options.market)
    run_at, lane = options.run_at or 0.0, Lane(options.market).text
    tasks = Tasks(
        Task(tenant, id, entry.name, entry.version, text, *fixed, extra=extra, run_at=run_at, lane=lane)
        for id, text in zip(ids, order.texts, strict=True)
    )
    return Submission(tenant, route, tasks, key, digest(order.whole) if key else "", batch_id)


def named_agent(catalog: Catalog, name: str) -> Entry:
    """The agent of that name. Raises Refused (404) that lists the agents there are, the most alike first."""
    entry = catalog.get(name)
    if entry is None:
        names = by_likeness(name, catalog)
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        there = f"There are: {', '.join(names[:NAMED])}{more}." if names else "There are none at all."
        raise Refused(not_found("agent", f"There is no agent {name[:80]!r}. {there}"))
    return entry


def background_agent(catalog: Catalog, name: str) -> Entry:
    """The same. Raises Refused (409) too, for one that runs in real time only."""
    entry = named_agent(catalog, name)
    check_background(entry)
    return entry


def check_background(entry: Entry) -> None:
    """Raises Refused (409) where the agent runs in real time only."""
    if entry.agent.background is None:
        detail = f"Agent {entry.name!r} has no background mode; POST its input to /v1/agents/{entry.name}/run."
        raise Refused(conflict(detail, "/problems/realtime-only"))


def check_input(entry: Entry, text: str, limit: int) -> None:
    """Raises Refused where this is not an input of the agent."""
    problem = _problem(entry, text, limit, "The input")
    if problem is not None:
        raise Refused(problem)


def digest(whole: Any) -> str:
    """What tells one body from another, whatever the order of its fields and the space between them."""
    canonical = json.dumps(whole, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _problem(entry: Entry, text: str, limit: int, what: str) -> Problem | None:
    # A character has at most 4 bytes: most texts need not be encoded to know that they are short enough.
    if len(text) > limit // 4 and len(text.encode()) > limit:
        return too_large(what, limit)
    try:
        read_input(entry.agent, text)
    except InvalidInput as error:
        return problem_of(error)
    return None


def _summary(entry: Entry, wrong: dict[int, Problem], total: int) -> Problem:
    """One problem for a batch: as many lines as a problem holds, of as many inputs as possible."""
    for problem in wrong.values():
        if problem.status != HTTPStatus.UNPROCESSABLE_ENTITY:
            return problem
    lines = [f"inputs.{place}: {line}" for place, problem in wrong.items() for line in problem.errors]
    if len(lines) > ERRORS:
        lines = [f"inputs.{place}: {problem.errors[0]}" for place, problem in wrong.items()]
    return invalid_input(f"{len(wrong)} of {total} inputs do not fit agent {entry.name!r}; none was accepted.", lines)
