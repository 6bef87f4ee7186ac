"""What a person reads: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from typing import Any

import typer

from .waiting import sentence


def complain(text: str) -> None:
    """One thing that went wrong."""
    typer.secho(text, err=True, fg=typer.colors.RED)


def note(text: str) -> None:
    """Something worth knowing that is not the result."""
    typer.echo(text, err=True)


def show_json(value: Any, *, compact: bool = False) -> None:
    """The result, on stdout: on one line for programs."""
    typer.echo(json.dumps(value, ensure_ascii=False, indent=None if compact else 2))


def show_problem(document: dict[str, Any]) -> None:
    """A problem document (or the error of a task, which has the same fields): title, detail, then each error."""
    complain(str(document.get("title", "Problem")))
    where = f" (step {document['step']})" if document.get("step") else ""
    if document.get("detail"):
        note(f"{document['detail']}{where}")
    for line in document.get("errors") or ():
        note(f"  - {line}")
    if document.get("cause"):
        show_problem(document["cause"])


def show_event(event: dict[str, Any]) -> None:
    """One event of a run, in a line; text as it comes."""
    data = event.get("data") or {}
    match event.get("type"):
        case "text.delta":
            typer.echo(data.get("text", ""), err=True, nl=False)
        case "progress":
            _line("·", " ".join(filter(None, [data.get("message", ""), _brief(data.get("data"))])))
        case "tool.call":
            _line("→", f"{data.get('name')}({_brief(data.get('arguments'))})")
        case "step.completed":
            _line("✓", str(event.get("step")))
        case "attempt.started":
            _line("▸", f"attempt {event.get('attempt')}")
        case "waiting":
            _line("…", sentence(data))
        case "moved":
            _line("↻", f"goes on with another version than {data.get('from')}: {data.get('reason')}")
        case "failed":
            show_problem(data.get("error") or data)
        case "output":
            pass  # the result itself, for stdout
        case other:
            _line("·", str(other))


def table(columns: list[str], rows: list[list[str]]) -> None:
    """Columns under their names, on stdout; the last one takes what is left of a terminal's line."""
    from rich.console import Console
    from rich.table import Table

    shown = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        shown.add_column(column, no_wrap=True)
    for row in rows:
        shown.add_row(*row)
    width = None if sys.stdout.isatty() else 1000
    Console(width=width, highlight=False, markup=False).print(shown)


def local(at: str | None) -> str:
    """A moment as this machine's clock shows it."""
    return "" if at is None else f"{datetime.fromisoformat(at).astimezone():%Y-%m-%d %H:%M}"


def _line(sign: str, text: str) -> None:
    typer.echo(f"{typer.style(sign, dim=True)} {text}", err=True)


def _brief(value: Any) -> str:
    """A value in at most a hundred characters."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else text[:99] + "…"


def show_status(status: dict[str, Any]) -> None:
    """What `status` found, a line for each thing."""
    if not status["up"]:
        note("Rubato is not up; start it with ./rubato up")
        return
    ready = "" if status["ready"] else ", not ready: see the logs"
    tasks = ", ".join(f"{count} {state}" for state, count in sorted(status["tasks"].items()) if count) or "none"
    rows = [("up", f"{status['url']} ({status['ingress']}{ready})")]
    rows += [("agent", f"{name}: {_replicas(agent['replicas'])}") for name, agent in status["agents"].items()]
    rows += [row for kind in status["workers"] for row in _workers(kind)]
    rows += [("nodes", _nodes(kind)) for kind in status["nodes"] if kind["nodes"] or kind["most"]]
    rows += [("price", f"{status['price']:g} USD an hour now")] if status["price"] is not None else []
    size = "" if status["store_bytes"] is None else f" ({status['store_bytes'] / 2**20:.1f} MiB)"
    rows += [("tasks", tasks), ("store", f"{status['store']}{size}")]
    rows += [("dashboard", status["dashboard"])] if status["dashboard"] else []
    rows += [("logs", status["logs"])]
    for label, text in rows:
        typer.echo(f"{label:10}{text}")


def _replicas(count: int) -> str:
    return f"{count} replica" + ("" if count == 1 else "s") if count else "background only"


def _workers(kind: dict[str, Any]) -> list[tuple[str, str]]:
    """How many there are, and why the pool wants so many, in each market that it may use."""
    more = [f"{kind[state]} {state}" for state in ("busy", "starting", "draining") if kind[state]]
    parts = [f"{kind['ready']} of {kind['wanted']} of kind {kind['kind']} for {', '.join(kind['agents'])}", *more]
    trouble = f"; {kind['trouble']}" if kind["trouble"] else ""
    why = [("", f"  {row['market'].replace('_', ' ')}: {row['workers']}, {row['reason']}") for row in kind["why"]]
    return [("workers", f"{', '.join(parts)}{trouble}"), *why]


def _nodes(kind: dict[str, Any]) -> str:
    most = "" if kind["most"] == kind["nodes"] else f" of at most {kind['most']}"
    price = "" if kind["price"] is None else f", {kind['price']:g} USD an hour each"
    return f"{kind['nodes']}{most} of kind {kind['kind']}, {kind['market'].replace('_', ' ')}{price}"
