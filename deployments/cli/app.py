"""All commands in one Typer application, and what becomes of their errors."""

from __future__ import annotations

import os
import sys
from http.client import UNAUTHORIZED

import typer

from . import develop, jobs, keeping, keys, lifecycle, running, schedules, submitting, tasks
from .client import hint
from .errors import CommandFailed, ProblemAnswer, UsageProblem
from .show import complain, note, show_problem

app = typer.Typer(
    help="Run one agent at two tempos: warm while a caller waits, or as a durable background task.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # a help text in colour would take three times as long to appear
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (lifecycle, keeping, running, submitting, jobs, tasks, schedules, keys, develop):
    group.register(app)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and end the process: 0 ok, 1 a problem or a failed task, 2 wrong usage."""
    try:
        app(arguments, prog_name="./rubato")
    except ProblemAnswer as answer:
        show_problem(answer.document)
        if answer.document.get("status") == UNAUTHORIZED:
            note(hint(os.environ))
    except CommandFailed as problem:
        complain(str(problem))
        sys.exit(2 if isinstance(problem, UsageProblem) else 1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output, such as `head`, has left
        sys.stderr.close()
    sys.exit(1)
