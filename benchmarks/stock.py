"""Ray Serve as it comes: the echo agent's handler, one replica, in a Ray of its own without any of our settings."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .bare import Message
from .local import ROOT, free_port

READY = "ready"
OURS = ("RAY_", "RUBATO_")  # settings of this environment that are not the contender's


@contextmanager
def stock() -> Iterator[str]:
    """Where it answers."""
    port = free_port()
    env = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    command = [sys.executable, "-m", "benchmarks.stock", str(port)]
    process = subprocess.Popen(
        command, cwd=ROOT, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if line.strip() == READY:
                break
        else:
            raise RuntimeError(f"stock Ray Serve did not start: it ended with {process.wait()}")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.communicate()  # its input ends, and so does it


def _main(port: int) -> None:
    import ray
    from fastapi import FastAPI
    from ray import serve

    app = FastAPI()

    @serve.deployment
    @serve.ingress(app)
    class Stock:
        @app.post("/run")
        async def run(self, message: Message) -> Message:
            return message

    with tempfile.TemporaryDirectory(prefix="stock-") as folder:
        ray.init(num_cpus=2, include_dashboard=False, _temp_dir=folder, log_to_driver=False)
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        deployed: Any = Stock
        serve.run(deployed.bind())
        print(READY, flush=True)
        sys.stdin.read()
        serve.shutdown()
        ray.shutdown()


if __name__ == "__main__":
    _main(int(sys.argv[1]))
