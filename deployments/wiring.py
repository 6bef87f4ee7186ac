"""What the gateway is put together from, inside each of its replicas."""

from __future__ import annotations

from typing import NamedTuple, cast

from starlette.types import ASGIApp

from agents.artifacts import artifact_store
from agents.catalog import Catalog
from cluster.collecting import collect_rarely
from cluster.equipment import Equipment, equip
from cluster.remote import POOL, Remote, RemoteLedger
from cluster.tasklog import LogLine

from .bodies import Limits
from .gateway import gateway_app
from .guard import Guard, gateway_needs
from .verifier import Verifier

LOGS_PATIENCE = 5.0  # seconds a pool that restarts is waited for


class GatewayPlan(NamedTuple):
    """Which agents a gateway knows, where artifacts are, how much a request may carry, whether everybody may ask as
    long as there are no keys, and what the agents need."""

    references: tuple[str, ...]
    artifacts_url: str
    limits: Limits
    opens: bool = False
    equipment: Equipment = Equipment()


async def start_gateway(plan: GatewayPlan) -> ASGIApp:
    """The gateway over the real ledger and pool; it loads every agent, for their schemas. Raises NotEquipped."""
    equip(plan.equipment)
    pool = Remote(POOL)

    async def logs(tenant: str, task_id: str) -> list[LogLine]:
        return cast(list[LogLine], await pool.call("logs", tenant, task_id, patience=LOGS_PATIENCE))

    catalog, ledger = Catalog.load(plan.references), RemoteLedger()
    collect_rarely()
    app = gateway_app(
        catalog,
        ledger,
        lambda tenant: artifact_store(plan.artifacts_url, tenant),
        logs,
        limits=plan.limits,
    )
    return Guard(app, Verifier(ledger.keys_since, opens=plan.opens), gateway_needs)
