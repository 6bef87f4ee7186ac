"""How long one async actor waits for another's answer: what each hop through Ray takes on this machine."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from cluster import raylocal
from deployments.ingress import free_ports

from .local import ROOT

TIMES = 1000
WARM = 200
PACKED = b"x" * 500  # about what a submission takes


def measure(folder: Path, times: int = TIMES) -> dict[str, float]:
    """p50 in a Ray of its own, in processes of their own: Ray reads its settings once, when it is imported."""
    command = [sys.executable, "-m", "benchmarks.roundtrip", str(folder), str(times)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the round trip could not be measured:\n{done.stderr}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


class Answering:
    """An actor that gives back what it is sent."""

    async def answer(self, packed: bytes) -> bytes:
        return packed


class Asking:
    """An actor that asks another, as a gateway and a worker do."""

    async def p50(self, other: Any, times: int) -> float:
        """Seconds of the median call, one at a time."""
        found = []
        for _ in range(WARM + times):
            began = time.perf_counter()
            await other.answer.remote(PACKED)
            found.append(time.perf_counter() - began)
        return median(found[WARM:])


def _main(folder: Path, times: int) -> dict[str, float]:
    cluster = secrets.token_hex(16)
    token = folder / "token"
    raylocal.make_token(token)
    port, *agents = free_ports(5)
    env = raylocal.environment(cluster, token, {}, [ROOT])
    where = raylocal.LocalRay(
        cluster, raylocal.make_folder(cluster), port, (agents[0], agents[1], agents[2], agents[3]), env, folder / "log"
    )
    try:
        raylocal.adopt(env)
        raylocal.wait(where, raylocal.start(where))
        raylocal.connect(where.address)
        return {"p50_ms": round(_between_actors(times) * 1000, 3)}
    finally:
        raylocal.disconnect()
        raylocal.stop(cluster)


def _between_actors(times: int) -> float:
    import ray

    answering, asking = (
        ray.remote(actor).options(num_cpus=0, enable_task_events=False).remote() for actor in (Answering, Asking)
    )
    p50: float = ray.get(asking.p50.remote(answering, times), timeout=120)
    return p50


if __name__ == "__main__":
    print(json.dumps(_main(Path(sys.argv[1]), int(sys.argv[2]))))
