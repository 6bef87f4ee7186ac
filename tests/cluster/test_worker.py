"""What a worker promises to the ledger: what it claims runs once, and what it reports arrives once."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from agents import Artifact, Context, Progress
from cluster.claims import Claim, Ending, Orders, Verdict

from .links import AFTER, BEFORE, MemoryLink
from .making import task
from .workers import Given, add, beat, one, settle, working


async def test_a_task_is_run_and_its_output_reported() -> None:
    link = MemoryLink()
    async with working(link, one) as worker:
        row = link.submit('{"n": 1}')
        await link.ended(row)
        await settle()

        assert row.verdicts == [Verdict(Ending.COMPLETED, output="2")]
        assert worker.held() == ()


async def test_the_steps_of_a_run_are_recorded_in_order_with_its_events() -> None:
    async def script(ctx: Context, given: Given) -> int:
        await ctx.emit(Progress(message="begun"))
        value = await ctx.step("add", add, given.n, 1)
        await ctx.emit(Progress(message="added"))
        return await ctx.step("add", add, value, 1)

    link = MemoryLink()
    async with working(link, script):
        row = link.submit('{"n": 1}')
        await link.ended(row)

    said = ["begun", "add#0", "added", "add#1"]
    assert [part for part, text in zip(said, row.said, strict=True) if part in text] == said
    assert row.verdicts == [Verdict(Ending.COMPLETED, output="3")]


async def test_a_recorded_step_does_not_run_again() -> None:
    ran = []

    def first(n: int) -> int:
        ran.append("first")
        return n + 40

    async def script(ctx: Context, given: Given) -> int:
        value = await ctx.step("first", first, given.n)
        if ctx.attempt == 1:
            raise ValueError("once")
        return await ctx.step("second", add, value, 1)

    link = MemoryLink()
    async with working(link, script):
        row = link.submit('{"n": 1}')
        await link.ended(row)

    assert ran == ["first"]
    assert row.steps == ["first#0", "second#0"]
    assert row.verdicts[-1] == Verdict(Ending.COMPLETED, output="42")


async def test_exactly_one_pull_is_outstanding() -> None:
    link = MemoryLink()
    async with working(link, one):
        await link.ended(*[link.submit() for _ in range(20)])
        await settle()

        assert link.outstanding == 1


async def test_reports_of_many_runs_share_one_call() -> None:
    together = asyncio.Event()

    async def quick(n: int) -> int:
        return n

    async def steps(ctx: Context, given: Given) -> int:
        await together.wait()
        return await ctx.step("quick", quick, given.n)

    link = MemoryLink()
    async with working(link, steps, slots=50) as worker:
        rows = [link.submit() for _ in range(50)]
        await link.until(lambda: len(worker.held()) == 50)
        together.set()
        await link.ended(*rows)

    assert link.calls["report"] <= 4  # all steps, all verdicts, and a straggler of each


async def test_what_quick_runs_reach_is_on_its_way_before_the_next_pull() -> None:
    called: list[str] = []

    def note(method: str) -> str:
        called.append(method)
        return ""

    link = MemoryLink()
    link.fault = note
    async with working(link, one):
        await link.ended(*[link.submit() for _ in range(3)])
        await settle()
        before = list(called)

    assert before == ["pull", "report", "pull"]


async def test_a_report_whose_answer_is_lost_is_sent_again_and_applied_once() -> None:
    async def script(ctx: Context, given: Given) -> int:
        return await ctx.step("add", add, given.n, 1)

    link = MemoryLink()
    faults = iter([AFTER, BEFORE, AFTER, ""])
    link.fault = lambda method: next(faults, "") if method == "report" else ""
    async with working(link, script):
        row = link.submit()
        await link.ended(row)
        await settle()

    first, *again = [report for report in link.reports if report.number == 1]
    assert again == [first, first]
    assert row.steps == ["add#0"]
    assert row.verdicts == [Verdict(Ending.COMPLETED, output="1")]


async def test_a_pull_that_fails_is_made_again() -> None:
    link = MemoryLink()
    faults = iter([BEFORE, BEFORE, ""])
    link.fault = lambda method: next(faults, "") if method == "pull" else ""
    row = link.submit()
    async with working(link, one):
        await link.ended(row)

    assert row.verdicts == [Verdict(Ending.COMPLETED, output="1")]


async def test_claims_whose_answer_was_lost_go_back_with_the_next_heartbeat() -> None:
    link = MemoryLink()
    faults = iter([AFTER, ""])
    link.fault = lambda method: next(faults, "") if method == "pull" else ""
    row = link.submit()
    async with working(link, one) as worker:
        await link.until(lambda: link.calls["pull"] == 2)
        await settle()
        assert row.task.worker == "w1"  # the ledger thinks so
        await beat(worker)
        await link.ended(row)

    assert row.task.attempts == 1
    assert row.verdicts == [Verdict(Ending.COMPLETED, output="1")]


async def test_a_claim_that_is_handed_over_twice_runs_once() -> None:
    begun = []

    async def script(ctx: Context, given: Given) -> int:
        begun.append(ctx.task_id)
        return given.n

    link = MemoryLink()
    async with working(link, script) as worker:
        row = link.submit()
        await link.ended(row)
        await settle()
        worker.obey(0, Orders(claims=(Claim(row.task),)))
        await settle()

        assert begun == [row.task.id]
        assert worker.held() == ()


async def test_the_memory_of_claims_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.worker.SEEN", 100)
    link = MemoryLink()
    async with working(link, one) as worker:
        claims = tuple(Claim(task(agent="nobody's")) for _ in range(110))
        worker.obey(0, Orders(claims))

        assert len(worker._seen) == 100
        for claim in claims:
            worker.lose((claim.task.tenant, claim.task.id, claim.task.fence))


async def test_an_artifact_is_kept_for_its_tenant_only(tmp_path: Path) -> None:
    async def script(ctx: Context, given: Given) -> int:
        kept = await ctx.artifact(b"bytes")

        def read() -> int:
            return len(Artifact(sha256=kept.sha256, size=kept.size).read())

        return await ctx.step("read", read)

    link = MemoryLink()
    async with working(link, script, artifacts=str(tmp_path)):
        row = link.submit(tenant="acme")
        await link.ended(row)

    assert row.verdicts == [Verdict(Ending.COMPLETED, output="5")]
    assert os.listdir(tmp_path) == ["t-acme"]
