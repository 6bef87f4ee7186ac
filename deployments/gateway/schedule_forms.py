"""A schedule over HTTP: what may be sent, and what is answered."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints

from cluster.cron import LONGEST, check_line, zones

from ..nearest import suggestion
from .forms import PAGE, CommonOptions, Form
from .schemas import Document

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,254}$"

Overlap = Literal["skip", "queue_one", "allow", "cancel"]
CatchUp = Literal["none", "one", "all"]


def _line(line: str) -> str:
    check_line(line)
    return line


def _zone(zone: str) -> str:
    if zone not in zones():
        raise ValueError(f"there is no time zone {zone[:60]!r}{suggestion(zone, zones())}")
    return zone


class ScheduleOptions(CommonOptions):
    """What may be asked of the tasks that a schedule creates; what is not said is the agent's own policy."""


class NewSchedule(Form):
    """When tasks of one agent are created; `input` is what the agent's input schema asks for."""

    agent: Annotated[str, Field(strict=True)]
    input: Any
    cron: Annotated[
        str,
        Field(strict=True, min_length=1, max_length=LONGEST, description="minute, hour, day, month, day of the week"),
        AfterValidator(_line),
    ]
    zone: Annotated[str, Field(strict=True, description="an IANA time zone"), AfterValidator(_zone)] = "UTC"
    overlap: Annotated[Overlap, Field(description="what if its last task has not ended")] = "skip"
    catch_up: Annotated[CatchUp, Field(description="with which of the times that were missed")] = "one"
    paused: Annotated[bool | None, Field(strict=True, description="null: as it was, and not where it is new")] = None
    options: ScheduleOptions = Field(default_factory=ScheduleOptions)


class ScheduleQuery(Form):
    """Which page of the schedules, by name."""

    cursor: Annotated[str | None, StringConstraints(pattern=NAME), Field(description="`next_cursor`")] = None
    limit: Annotated[int, Field(ge=1, le=PAGE)] = 50


class GivenOptions(Document):
    """What is asked of a schedule's tasks; null is the agent's own policy."""

    priority: int
    timeout: float | None
    max_attempts: int | None
    retry: dict[str, float] | None
    limit_key: str
    tags: list[str]
    market: str


class Schedule(Document):
    """A schedule. `held_at` is a time whose task waits for the one before it; `next` begins with `next_at`."""

    name: str
    agent: str
    input: Any
    cron: str
    zone: str
    overlap: Overlap
    catch_up: CatchUp
    paused: bool
    options: GivenOptions
    next_at: datetime | None
    held_at: datetime | None
    last_at: datetime | None
    next: list[datetime]
    created_at: datetime


class ScheduleList(Document):
    """A page of schedules by name; `next_cursor` is null on the last."""

    items: list[Schedule]
    next_cursor: str | None
