"""The no-op as a Celery task, as durable as ours: acknowledged after it ran, its result kept in Redis."""

from __future__ import annotations

import os

from celery import Celery

REDIS = "BENCHMARK_REDIS"  # the environment's name for the server's URL
BROKER, RESULTS = 0, 1  # databases of the server
PREFETCH = 256  # messages a worker process keeps, as many as one of our workers has slots


def echo(message: dict[str, str]) -> dict[str, str]:
    """What the echo agent does."""
    return message


def make(url: str) -> Celery:
    """The application on this server, with whatever it does besides switched off."""
    app = Celery("benchmark", broker=f"{url}/{BROKER}", backend=f"{url}/{RESULTS}")
    app.conf.update(
        task_acks_late=True,
        task_reject_on_worker_lost=True,  # else the late acknowledgement would be given for a killed worker too
        worker_prefetch_multiplier=PREFETCH,
        worker_send_task_events=False,
        worker_disable_rate_limits=True,
        task_serializer="json",
        result_serializer="json",
        accept_content=["json"],
        broker_connection_retry_on_startup=True,
    )
    app.task(echo, name="echo")
    return app


if REDIS in os.environ:
    app = make(os.environ[REDIS])
