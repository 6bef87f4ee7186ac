"""What starts a task at set times: the record of a schedule, and what is to be done about it now."""

from __future__ import annotations

import json
from itertools import islice, takewhile
from typing import NamedTuple

from agents.catalog import Entry
from agents.ids import derived_id_at

from .cron import following, latest, times
from .lanes import Lane
from .task import Options, Task, extra_json

LOOK = 200  # times that one look takes up where all are caught up with; the rest is for the next
LATE = 60.0  # seconds after which a time was missed


class Schedule(NamedTuple):
    """A cron expression, and the task that it creates each time."""

    tenant: str
    name: str
    agent: str
    input: str
    cron: str
    zone: str  # an IANA time zone
    overlap: str  # skip, queue_one, allow or cancel: what if the last one still runs
    catch_up: str  # none, one or all: of the times that were missed
    template: str  # a JSON object: see Template
    paused: int
    next_at: float | None  # None: never again
    last_at: float | None  # the time of the last task it created
    created_at: float
    held_at: float | None = None  # a time that is past, and whose task waits for the one before it to end


class Policy(NamedTuple):
    """What an agent's tasks have where nobody asks otherwise."""

    version: str
    timeout: float
    max_attempts: int


class Template(NamedTuple):
    """What is asked of a schedule's tasks, and what their agent's policy was when it was last seen."""

    options: Options
    policy: Policy


class Firing(NamedTuple):
    """What is to be done: cancel what has not ended, create a task for each of these times, keep the schedule so."""

    times: tuple[float, ...]
    cancel: bool
    schedule: Schedule
    dropped: int  # times that get no task, because the last one has not ended


def policy_of(entry: Entry) -> Policy | None:
    """What an agent's tasks have where nobody asks otherwise; None for one that has no background mode."""
    background = entry.agent.background
    return None if background is None else Policy(entry.version, background.timeout, background.max_attempts)


def write(template: Template) -> str:
    """As a schedule has it."""
    return json.dumps({"options": template.options._asdict(), "policy": template.policy._asdict()})


def read(stored: str) -> Template:
    """What `write` wrote, by this version or another."""
    parts = json.loads(stored)
    options = {name: value for name, value in parts["options"].items() if name in Options._fields}
    options["tags"] = tuple(options["tags"])
    return Template(Options(**options), Policy(**parts["policy"]))


def firing(schedule: Schedule, now: float, unended: int) -> Firing:
    """What is due by now, where so many of its tasks have not ended."""
    if schedule.paused:
        return Firing((), False, schedule, 0)
    found, next_at = due(schedule, now)
    held = schedule.held_at
    fired: tuple[float, ...]
    if schedule.overlap == "allow":
        fired = found
    elif schedule.overlap == "cancel":
        fired = found[-1:]  # it would end those before it at once
    elif schedule.overlap == "skip":
        fired = () if unended else found[:1]
    else:
        line = found if held is None else (held, *found)
        fired = () if unended else line[:1]
        held = next(iter(line[len(fired) :]), None)
    dropped = len(found) + (schedule.held_at is not None) - len(fired) - (held is not None)
    last_at = fired[-1] if fired else schedule.last_at
    kept = schedule._replace(next_at=next_at, last_at=last_at, held_at=held)
    return Firing(fired, schedule.overlap == "cancel" and bool(fired), kept, dropped)


def due(schedule: Schedule, now: float) -> tuple[tuple[float, ...], float | None]:
    """The times until now that are to be caught up with, and the first that comes after this look."""
    first, line, zone = schedule.next_at, schedule.cron, schedule.zone
    if first is None or first > now:
        return (), first
    if schedule.catch_up == "all":
        more = takewhile(lambda at: at <= now, times(line, zone, first))
        found = (first, *islice(more, LOOK - 1))
    else:
        last = latest(line, zone, first, now)
        found = (last,)
    granted = found if schedule.catch_up != "none" or now - found[-1] <= LATE else ()
    return granted, following(line, zone, found[-1])


def placed(asked: Schedule, old: Schedule | None, paused: bool | None, now: float) -> Schedule:
    """The schedule that is asked for, in the place of an old one of its name; `paused` None leaves that as it was.

    It keeps its place in time unless its times are other ones.
    """
    new = asked._replace(paused=int(bool(paused)), created_at=now, next_at=following(asked.cron, asked.zone, now))
    if old is None:
        return new
    held = old.held_at if new.overlap == "queue_one" else None
    new = new._replace(paused=old.paused, created_at=old.created_at, last_at=old.last_at, held_at=held)
    if (new.cron, new.zone) == (old.cron, old.zone):
        new = new._replace(next_at=old.next_at)
    return new if paused is None else pause(new, paused, now)


def pause(schedule: Schedule, paused: bool, now: float) -> Schedule:
    """The schedule, paused or not. One that goes on takes up what it missed, unless nothing is caught up with."""
    if paused == bool(schedule.paused):
        return schedule
    resumed = schedule._replace(paused=int(paused))
    if paused or schedule.catch_up != "none" or schedule.next_at is None or schedule.next_at > now:
        return resumed
    return resumed._replace(next_at=following(schedule.cron, schedule.zone, now))


def task_of(schedule: Schedule, at: float, policy: Policy | None, now: float) -> Task:
    """The task for that time: always the same one, so that it is created once. It sorts among others by its time."""
    id = derived_id_at(at, schedule.tenant, "schedule", schedule.name)
    return made(schedule, id, policy, now)._replace(run_at=at)


def made(schedule: Schedule, id: str, policy: Policy | None, now: float) -> Task:
    """A task of the schedule, to run at once; `policy` is its agent's, None where that is not known any more."""
    template = read(schedule.template)
    options, policy = template.options, policy or template.policy
    return Task(
        tenant=schedule.tenant,
        id=id,
        agent=schedule.agent,
        version=policy.version,
        input=schedule.input,
        priority=options.priority,
        tags=json.dumps(options.tags),
        batch_id=None,
        max_attempts=options.max_attempts or policy.max_attempts,
        timeout=options.timeout or policy.timeout,
        created_at=now,
        limit_key=options.limit_key,
        schedule=schedule.name,
        extra=extra_json(retry=options.retry, market=options.market),
        lane=Lane(options.market).text,
    )
