"""A provision that finds a database ready, beside the CREATE DATABASE that it need not wait for."""

from __future__ import annotations

import asyncio
import secrets
from io import StringIO
from typing import TYPE_CHECKING

from psycopg import AsyncConnection
from psycopg.sql import SQL, Identifier
from ruamel.yaml import YAML

from benchmarks.client import BrokerClient
from benchmarks.report import WARM
from benchmarks.series import Row, Series

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.place import Place

STOCK = 10
"""How many databases are kept ready, and claimed one after the other."""

PLAN = {"id": "5a1d9b0e-7c55-4c0a-8f0e-1d2f6c1b7a01", "name": "warm"}

_FILL_SECONDS = 60
_POLL_SECONDS = 0.1
_READY = SQL("SELECT count(*) FROM pgbroker.warm_databases WHERE state = 'ready'")
_CREATE = SQL("CREATE DATABASE {} TEMPLATE template0 ALLOW_CONNECTIONS false CONNECTION LIMIT 0")
_DROP = SQL("DROP DATABASE {} WITH (FORCE)")


def with_warm_plan(catalog: Path) -> str:
    """Return a catalog with one plan more: the first one, with databases kept ready."""
    yaml = YAML(typ="safe", pure=True)
    document = yaml.load(catalog.read_text("utf-8"))
    plans = document["offerings"][0]["plans"]
    plans.append({**plans[0], **PLAN, "update_to": [], "warm": STOCK})
    text = StringIO()
    yaml.dump(document, text)
    return text.getvalue()


async def measure_warm(
    place: Place, rounds: int, doing: Callable[[str], None], circumstance: str = ""
) -> Row:
    """Measure provisions from the stock, by turns with CREATE DATABASE on an open connection.

    Args:
        place: Where; its broker offers the plan of ``with_warm_plan``.
        rounds: How often the whole stock is claimed.
        doing: Called with the name of each part before it begins.
        circumstance: Put behind the name.
    """
    broker, raw = Series(), Series()
    clients = [await BrokerClient.connected(place) for _ in range(STOCK)]
    async with await AsyncConnection.connect(place.broker_dsn, autocommit=True) as connection:
        for number in range(rounds):
            doing(f"provision from the warm stock{circumstance}: {number + 1} of {rounds}")
            await _filled(connection)
            for client in clients:
                client.ids["plan_id"] = PLAN["id"]
                await client.reconnect()
            for client in clients:
                with broker.measured():
                    await client.provision()
            # The refill has begun by now, and would be in the way.
            for client in clients:
                await client.reconnect()
                await client.deprovision()
            await _filled(connection)
            for _ in clients:
                name = Identifier(f"raw_{secrets.token_hex(8)}")
                with raw.measured():
                    await connection.execute(_CREATE.format(name))
                await connection.execute(_DROP.format(name))
    for client in clients:
        await client.close()
    return Row(f"{WARM}{circumstance}", broker, raw)


async def _filled(connection: AsyncConnection) -> None:
    async with asyncio.timeout(_FILL_SECONDS):
        while True:
            if await (await connection.execute(_READY)).fetchone() == (STOCK,):
                return
            await asyncio.sleep(_POLL_SECONDS)
