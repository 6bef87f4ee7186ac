"""A cluster that exists only here: what the pool plans is done there, second by second, and the bill is kept.

Tasks arrive and run in the slots of workers; workers need nodes, which come after a while, are refused, never come or
are taken away, as a weather says for each kind of node. Nothing in it is left to luck but what a seed decides.
"""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from agents import Resources
from agents.resources import GRAIN, Market
from cluster.nodekinds import NodeKind, amounts
from cluster.planning import plan
from cluster.situation import Backlog, Deadline, Memory, Plan, Rules, Situation, Worker, WorkerKind

Weather = Literal["fine", "refused", "hangs", "taken"]
SETUP = 2.0  # seconds from a node with room to a worker that takes work
NODE_IDLE = 5.0  # seconds after which a node without workers goes
HOUR = 3600.0
RULES = Rules(idle=20, patience=30)


@dataclass
class Task:
    """One task of an agent."""

    agent: str
    arrives: float
    seconds: float
    market: Market = "any"
    deadline: float | None = None
    ends: float | None = None  # None until it has ended
    started: float | None = None
    runs: int = 0


@dataclass
class Machine:
    """A node, from when it was asked for."""

    kind: NodeKind
    asked: float
    up_at: float | None  # None: never
    free: dict[str, float]
    empty_since: float | None = None


@dataclass
class Hand:
    """A worker and the tasks in its slots."""

    worker: Worker
    shape: Resources
    machine: Machine | None = None
    tasks: list[Task] = field(default_factory=list)


@dataclass(frozen=True)
class Agent:
    """Whose tasks take the shape, so many at once on a worker."""

    name: str
    slots: int = 1
    shape: Resources = field(default_factory=lambda: Resources(cpus=1))


@dataclass
class Bill:
    """What came of it."""

    seconds: Counter[str] = field(default_factory=Counter)  # of nodes, by kind
    cost: float = 0.0  # USD
    starts: int = 0
    ends: int = 0
    most: Counter[str] = field(default_factory=Counter)  # workers that took work at once, by market
    first_result: float | None = None
    last_result: float = 0.0
    empty_at: float = 0.0  # since when there is no node that need not be there
    lost: int = 0  # runs that a node took with it


class Cluster:
    """The world and the pool in it; `weather(kind, now)` says how it is with a kind of node."""

    def __init__(
        self,
        agents: Iterable[Agent],
        nodes: Iterable[NodeKind],
        tasks: Iterable[Task],
        *,
        weather: Callable[[str, float], Weather] = lambda kind, now: "fine",
        launch: float = 10.0,
        rules: Rules = RULES,
        least: int = 0,
        most: int = 20,
    ) -> None:
        self.agents = {agent.name: agent for agent in agents}
        self.nodes = tuple(nodes)
        self.coming = sorted(tasks, key=lambda task: task.arrives)
        self.tasks = list(self.coming)
        self.weather, self.launch, self.rules = weather, launch, rules
        self.bounds = least, most
        self.now = 0.0
        self.queue: defaultdict[tuple[str, str], deque[Task]] = defaultdict(deque)  # by agent and market
        self.hands: dict[str, Hand] = {}
        self.machines: list[Machine] = []
        self.refused: dict[str, float] = {}
        self.memory = Memory()
        self.bill = Bill()
        self.seen: dict[str, list[float]] = {}
        self.plans: list[Plan] = []
        for kind in self.nodes:
            self.machines += [Machine(kind, 0.0, 0.0, dict(kind.resources)) for _ in range(kind.min_nodes)]

    def run(self, seconds: float) -> Bill:
        """Let so much time pass."""
        until = self.now + seconds
        while self.now < until:
            self._arrive()
            self._weather()
            self._place()
            self._work()
            self._decide()
            self._count()
            self.now += 1
        return self.bill

    def ready(self, market: str | None = None) -> int:
        """Workers that take work, in a market or in all."""
        found = [hand.worker for hand in self.hands.values() if hand.worker.ready_at is not None]
        return sum(1 for worker in found if market in (None, worker.market))

    def _arrive(self) -> None:
        while self.coming and self.coming[0].arrives <= self.now:
            task = self.coming.pop(0)
            self.queue[task.agent, task.market].append(task)

    def _weather(self) -> None:
        for machine in list(self.machines):
            if machine.up_at is None and self.weather(machine.kind.name, self.now) == "fine":
                machine.up_at = self.now + self.launch
            if self.weather(machine.kind.name, self.now) == "taken" and machine.up_at is not None:
                self._lose(machine)

    def _lose(self, machine: Machine) -> None:
        self.machines.remove(machine)
        for hand in [hand for hand in self.hands.values() if hand.machine is machine]:
            del self.hands[hand.worker.id]
            for task in hand.tasks:
                task.started = None
                self.queue[task.agent, task.market].appendleft(task)
                self.bill.lost += 1

    def _place(self) -> None:
        """Workers that wait find room, or a node is launched for them, as an autoscaler does; idle nodes go."""
        launching = [machine for machine in self.machines if machine.up_at is None or machine.up_at > self.now]
        promised = Counter(machine.kind.name for machine in launching)
        for hand in self.hands.values():
            if hand.machine is None and not self._sit(hand):
                self._launch(hand, promised)
        for machine in list(self.machines):
            used = any(hand.machine is machine for hand in self.hands.values())
            if used or machine.up_at is None or machine.up_at > self.now:
                machine.empty_since = None
            elif machine.empty_since is None:
                machine.empty_since = self.now
            elif self.now - machine.empty_since >= NODE_IDLE:
                there = sum(1 for other in self.machines if other.kind is machine.kind)
                if there > machine.kind.min_nodes:
                    self.machines.remove(machine)
        for hand in self.hands.values():
            if hand.machine is not None and hand.worker.ready_at is None and self.now - hand.worker.asked_at >= SETUP:
                hand.worker = replace(hand.worker, ready_at=self.now, idle_since=self.now)

    def _sit(self, hand: Hand) -> bool:
        for machine in self.machines:
            asked = amounts(hand.shape)
            up = machine.up_at is not None and machine.up_at <= self.now and machine.kind.name == hand.worker.node
            if up and all(machine.free.get(name, 0) + GRAIN / 2 >= amount for name, amount in asked.items()):
                for name, amount in asked.items():
                    machine.free[name] -= amount
                hand.machine = machine
                return True
        return False

    def _launch(self, hand: Hand, promised: Counter[str]) -> None:
        kind = next(kind for kind in self.nodes if kind.name == hand.worker.node)
        if promised[kind.name] > 0:  # about a node for each that waits is enough of a model
            promised[kind.name] -= 1
            return
        weather = self.weather(kind.name, self.now)
        if weather in ("refused", "taken"):
            self.refused[kind.name] = self.now
        elif sum(1 for machine in self.machines if machine.kind is kind) < kind.max_nodes:
            up = self.now + self.launch if weather == "fine" else None
            self.machines.append(Machine(kind, self.now, up, dict(kind.resources)))

    def _work(self) -> None:
        """Each slot takes one task after another until the second is over; the least busy worker takes first."""
        for hand in self.hands.values():
            for task in list(hand.tasks):
                assert task.started is not None
                if task.started + task.seconds <= self.now:
                    self._end(hand, task, task.started + task.seconds)
        taking = True
        while taking:
            taking = False
            for hand in sorted(self.hands.values(), key=lambda hand: (len(hand.tasks), hand.worker.id)):
                taking |= self._take(hand)
        for hand in self.hands.values():
            busy = _slots(hand.tasks)
            since = None if busy else hand.worker.idle_since or self.now
            hand.worker = replace(hand.worker, busy=busy, idle_since=since)

    def _take(self, hand: Hand) -> bool:
        worker = hand.worker
        if worker.ready_at is None or worker.draining:
            return False
        for agent in self.agents.values():
            if agent.shape != hand.shape:
                continue
            taken = sum(min(1.0, task.seconds) for task in hand.tasks if task.agent == agent.name)
            for market in ("any", worker.market):
                line = self.queue[agent.name, market]
                if line and taken + min(1.0, line[0].seconds) <= agent.slots + 1e-9:
                    task = line.popleft()
                    task.started, task.runs = self.now, task.runs + 1
                    hand.tasks.append(task)
                    return True
        return False

    def _end(self, hand: Hand, task: Task, at: float) -> None:
        hand.tasks.remove(task)
        task.ends = at
        self.seen.setdefault(task.agent, []).append(task.seconds)
        self.bill.first_result = self.bill.first_result or at
        self.bill.last_result = at

    def _decide(self) -> None:
        made = plan(self.situation())
        self.plans.append(made)
        self.memory = made.memory
        for ending in made.endings:
            hand = self.hands[ending.worker]
            hand.worker = replace(hand.worker, draining=True)
            self.bill.ends += 1
        for row in made.wanted:
            for _ in range(row.start):
                self.bill.starts += 1
                id = f"w{self.bill.starts:05}"
                shape = next(agent.shape for agent in self.agents.values() if _kind(agent) == row.kind)
                self.hands[id] = Hand(Worker(id, row.kind, row.market, row.node, self.now), shape)
        for hand in [hand for hand in self.hands.values() if hand.worker.draining and not hand.tasks]:
            del self.hands[hand.worker.id]
            if hand.machine is not None:
                for name, amount in amounts(hand.shape).items():
                    hand.machine.free[name] += amount
            else:  # nobody waits for that node any more: what never came is given up with it
                kind = hand.worker.node
                waits = any(other.machine is None and other.worker.node == kind for other in self.hands.values())
                self.machines = [it for it in self.machines if it.kind.name != kind or it.up_at is not None or waits]

    def situation(self) -> Situation:
        """What the pool would know."""
        kinds: dict[str, list[Agent]] = {}
        for agent in self.agents.values():
            kinds.setdefault(_kind(agent), []).append(agent)
        least, most = self.bounds
        return Situation(
            now=self.now,
            kinds=tuple(
                WorkerKind(
                    name,
                    agents[0].shape,
                    tuple(row for agent in agents for row in self._backlog(agent)),
                    least,
                    most,
                    SETUP + self.launch,
                )
                for name, agents in kinds.items()
            ),
            nodes=self.nodes,
            workers=tuple(hand.worker for hand in self.hands.values()),
            refused=dict(self.refused),
            rules=self.rules,
            memory=self.memory,
        )

    def _backlog(self, agent: Agent) -> Iterable[Backlog]:
        running = [task for hand in self.hands.values() for task in hand.tasks if task.agent == agent.name]
        seen = self.seen.get(agent.name, [])[-200:]
        markets: tuple[Market, ...] = ("any", "spot", "on_demand")
        for market in markets:
            mine = self.queue[agent.name, market]
            busy = [task for task in running if task.market == market]
            ends = Counter(task.deadline for task in mine if task.deadline is not None)
            yield Backlog(
                agent.name,
                agent.slots,
                market,
                queued=len(mine),
                running=_slots(busy),
                service=sum(seen) / len(seen) if seen else None,
                oldest=max((self.now - task.arrives for task in mine), default=0.0),
                deadlines=tuple(Deadline(at, tasks) for at, tasks in ends.items()),
            )

    def _count(self) -> None:
        for machine in self.machines:
            if machine.up_at is not None and machine.up_at <= self.now:
                self.bill.seconds[machine.kind.name] += 1
                self.bill.cost += (machine.kind.price or 0.0) / HOUR
        for market in ("spot", "on_demand"):
            self.bill.most[market] = max(self.bill.most[market], self.ready(market))
        if sum(1 for machine in self.machines) > sum(kind.min_nodes for kind in self.nodes):
            self.bill.empty_at = self.now + 1


def _slots(tasks: Iterable[Task]) -> int:
    """How many slots they take on average: of short ones several share one within a second."""
    return math.ceil(sum(min(1.0, task.seconds) for task in tasks) - 1e-9)


def _kind(agent: Agent) -> str:
    return f"of-{agent.shape.cpus:g}-{agent.shape.gpus:g}-{agent.shape.market}"


def at_once(agent: str, count: int, seconds: float, **more: object) -> list[Task]:
    """So many equal tasks at the same moment."""
    return [Task(agent, 0.0, seconds, **more) for _ in range(count)]  # type: ignore[arg-type]  # fields of a task


def by_chance(agent: str, rate: float, until: float, seconds: float, seed: int) -> list[Task]:
    """Tasks that come `rate` times a second on average, and take `seconds` on average."""
    dice, now, tasks = random.Random(seed), 0.0, list[Task]()
    while (now := now + dice.expovariate(rate)) < until:
        tasks.append(Task(agent, now, dice.expovariate(1 / seconds)))
    return tasks


def changing(changes: Mapping[str, list[tuple[float, Weather]]]) -> Callable[[str, float], Weather]:
    """The weather of each kind: from each moment on as it says, before the first and for the others fine."""

    def weather(kind: str, now: float) -> Weather:
        said: Weather = "fine"
        for at, then in changes.get(kind, ()):
            said = then if now >= at else said
        return said

    return weather
