"""What may be said of a job on a command line, be it the driver's own or `./rubato job`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, NamedTuple

import typer


class Order(StrEnum):
    """In which order the records stand in OUT."""

    INPUT = "input"
    COMPLETION = "completion"


Agent = Annotated[str, typer.Argument(metavar="AGENT", help="The agent's name.")]
In = Annotated[str, typer.Argument(metavar="IN.jsonl", help="Its inputs, one on each line: a file, or a URL.")]
Out = Annotated[str, typer.Argument(metavar="OUT.jsonl", help="Where the outputs go: a file, or a URL.")]
Ordered = Annotated[Order, typer.Option("--order", help="Records in the order of the input, or as they come.")]
Window = Annotated[int, typer.Option(min=1, max=1_000_000, help="Lines in flight at most.")]
Strict = Annotated[bool, typer.Option("--strict", help="End at the first line that is no input of the agent.")]
CancelOnInterrupt = Annotated[bool, typer.Option(help="On Ctrl-C cancel what is in flight.")]
Priority = Annotated[int, typer.Option(min=-100, max=100, help="Higher goes first.")]
Tags = Annotated[list[str], typer.Option("--tag", help="A tag to find its tasks by; may be repeated.")]
Timeout = Annotated[float | None, typer.Option(metavar="SECONDS", help="Running time of one attempt.")]
MaxAttempts = Annotated[int | None, typer.Option(min=1, max=100, help="How often each line is tried.")]
LimitKey = Annotated[
    str | None, typer.Option(metavar="KEY", help="Whose limits it counts against; by default the job has its own turn.")
]

Market = Annotated[
    str | None, typer.Option(metavar="MARKET", help="Nodes that its tasks may run on: any, spot or on_demand.")
]

WINDOW = 10_000


class Asked(NamedTuple):
    """What was said of a job."""

    order: Order
    window: int
    strict: bool
    cancel_on_interrupt: bool
    priority: int
    tags: list[str]
    timeout: float | None
    max_attempts: int | None
    limit_key: str | None
    market: str | None

    @property
    def of_tasks(self) -> dict[str, Any]:
        """The options that every task of the job has."""
        asked = {
            "priority": self.priority or None,
            "tags": self.tags or None,
            "timeout": self.timeout,
            "max_attempts": self.max_attempts,
            "limit_key": self.limit_key,
            "market": self.market,
        }
        return {name: value for name, value in asked.items() if value is not None}

    @property
    def arguments(self) -> list[str]:
        """The same on the driver's command line."""
        said = {"order": self.order.value, "window": self.window, "priority": self.priority, "timeout": self.timeout}
        said |= {"max-attempts": self.max_attempts, "limit-key": self.limit_key, "market": self.market}
        given = [f"--{name}={value}" for name, value in said.items() if value is not None]
        flags = {"--strict": self.strict, "--cancel-on-interrupt": self.cancel_on_interrupt}
        return [*given, *(flag for flag, on in flags.items() if on), *(f"--tag={tag}" for tag in self.tags)]
