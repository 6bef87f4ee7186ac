"""What an author declares about an agent's two tempos."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from .resources import Resources

Durability = Literal["sync", "batched", "exit"]
Upgrade = Literal["move", "finish"]
OnMessage = Literal["enqueue", "interrupt", "reject"]
YEAR = 366 * 24 * 3600.0  # seconds; nothing that is declared lasts longer


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


@dataclass(frozen=True, slots=True)
class Retry:
    """Wait before attempt n+1: `base` * 2**(n-1) seconds, at most `cap`, plus up to `jitter` of itself by chance."""

    base: float = 1.0
    cap: float = 300.0
    jitter: float = 0.5

    def __post_init__(self) -> None:
        _require(0 <= self.base <= self.cap <= YEAR, "retry: base must be between 0 and cap, and cap at most a year")
        _require(0 <= self.jitter <= 1, "retry: jitter must be between 0 and 1")

    def delay(self, attempt: int, roll: float) -> float:
        """Seconds to wait after `attempt` failed; `roll` is a chance in [0, 1)."""
        return float(min(self.cap, self.base * 2 ** min(attempt - 1, 60)) * (1 + self.jitter * roll))


@dataclass(frozen=True, slots=True)
class Realtime:
    """How an agent answers while its caller waits.

    `deadline`: seconds until the caller gets an answer or a 504; of these the last `simple_time` are left for
    `simple`, where the agent has it. One Serve application with `min_replicas` to `max_replicas` replicas, each of
    which takes `resources`, runs up to `slots` requests at once and lets up to `queue` more wait for one of these.
    An answer is good for `cache_ttl` seconds (0: for none, and equal requests each run by themselves); for another
    `stale_ttl` it is given where there is no time for a new one. An input that comes over a session's WebSocket while
    another is answered waits for its turn (`on_message` "enqueue"), cancels the other, or is rejected.
    """

    deadline: float = 30.0
    slots: int = 8
    queue: int = 16
    min_replicas: int = 1
    max_replicas: int = 1
    resources: Resources = field(default_factory=Resources)
    cache_ttl: float = 0.0
    stale_ttl: float = 600.0
    simple_time: float = 0.1
    on_message: OnMessage = "enqueue"

    def __post_init__(self) -> None:
        _require(0 < self.deadline <= YEAR, "realtime: deadline must be positive, and at most a year")
        _require(1 <= self.slots <= 4096, "realtime: slots must be between 1 and 4096")
        _require(0 <= self.queue <= 65536, "realtime: queue must be between 0 and 65536")
        _require(1 <= self.min_replicas <= self.max_replicas, "realtime: 1 <= min_replicas <= max_replicas")
        _require(0 <= self.cache_ttl <= YEAR, "realtime: cache_ttl must be between 0 and a year")
        _require(0 <= self.stale_ttl <= YEAR, "realtime: stale_ttl must be between 0 and a year")
        _require(0 < self.simple_time <= YEAR, "realtime: simple_time must be positive, and at most a year")
        known = get_args(OnMessage)
        _require(self.on_message in known, f"realtime: on_message must be one of {', '.join(known)}")


@dataclass(frozen=True, slots=True)
class Background:
    """How an agent runs as a durable task.

    One worker takes `resources` and runs up to `slots` tasks of this agent at once; a task is tried at most
    `max_attempts` times, each for at most `timeout` running seconds, with waits between them by `retry`. A step is
    durable when it returns (`durability` "sync"), soon after ("batched"), or when the run ends or waits ("exit"). A
    task that has recorded something when another version of the agent is deployed goes on with that, by its recorded
    steps (`upgrade` "move"), or is left to workers of its own version as long as there are some ("finish").
    """

    resources: Resources = field(default_factory=lambda: Resources(cpus=1))
    slots: int = 8
    max_attempts: int = 3
    timeout: float = 3600.0
    retry: Retry = field(default_factory=Retry)
    durability: Durability = "sync"
    upgrade: Upgrade = "move"

    def __post_init__(self) -> None:
        _require(1 <= self.slots <= 1024, "background: slots must be between 1 and 1024")
        _require(1 <= self.max_attempts <= 100, "background: max_attempts must be between 1 and 100")
        _require(0 < self.timeout <= YEAR, "background: timeout must be positive, and at most a year")
        known = get_args(Durability)
        _require(self.durability in known, f"background: durability must be one of {', '.join(known)}")
        ways = get_args(Upgrade)
        _require(self.upgrade in ways, f"background: upgrade must be one of {', '.join(ways)}")
