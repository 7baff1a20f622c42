"""A state database with a synchronous standby, to be promoted when the primary dies."""

from __future__ import annotations

import shutil
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from broker.embedded import EmbeddedPostgres, StopMode
from broker.embedded.account import Account
from broker.embedded.configuration import SUPERUSER, render_hba
from broker.store import migrate
from tests.support.faults_servers import DURABLE, own_server
from tests.support.faults_waiting import until
from tests.support.postgres import BROKER_ROLE, embedded_postgres

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

_REPLICATES = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"


@dataclass(frozen=True, slots=True)
class StatePair:
    """Two servers with the same state database.

    Attributes:
        primary: Acknowledges nothing that the standby does not have.
        standby: Follows it.
        dsn: Leads to whichever of them takes writes.
    """

    primary: EmbeddedPostgres
    standby: EmbeddedPostgres
    dsn: str = field(repr=False)

    async def fail_over(self) -> None:
        """Kill the primary and promote the standby."""
        await self.primary.stop(StopMode.KILL)
        async with await AsyncConnection.connect(
            self.standby.superuser_dsn(), autocommit=True
        ) as superuser:
            assert await (await superuser.execute("SELECT pg_promote()")).fetchone() == (True,)


@asynccontextmanager
async def state_pair(directory: Path) -> AsyncIterator[StatePair]:
    """Run a migrated state database and its standby until the context is left.

    Args:
        directory: For both, in a ``server_directory``.
    """
    hba_file = directory / "replication.hba"
    replication = f"local  replication  {SUPERUSER}  scram-sha-256\n"
    hba_file.write_text(replication + render_hba(BROKER_ROLE), "ascii")
    async with own_server(directory / "first", hba_file=str(hba_file)) as first:
        primary = first.embedded
        dsn = first.postgres.broker_dsn()
        await migrate(dsn)
        await primary.stop()
        _copy(primary.data_directory, directory / "second")
        await primary.start()
        standby = embedded_postgres(
            directory / "second",
            **DURABLE,
            hba_file=str(hba_file),
            primary_conninfo=make_conninfo(primary.superuser_dsn(), dbname=None),
        )
        async with standby:
            async with await AsyncConnection.connect(
                primary.superuser_dsn(), autocommit=True
            ) as superuser:
                await superuser.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
                await superuser.execute("SELECT pg_reload_conf()")

                async def replicates() -> bool:
                    return await (await superuser.execute(_REPLICATES)).fetchone() == (1,)

                await until(replicates, what="the standby follows")
            yield StatePair(
                primary,
                standby,
                make_conninfo(
                    dsn,
                    host=",".join([str(conninfo_to_dict(dsn)["host"])] * 2),
                    port=f"{primary.port},{standby.port}",
                    target_session_attrs="read-write",
                ),
            )


def _copy(stopped: Path, to: Path) -> None:
    """Copy a server that is not running, as one that follows another."""
    shutil.copytree(stopped, to, ignore=shutil.ignore_patterns("port"))
    (to / "pgdata" / "standby.signal").touch()
    account = Account.choose()
    for path in (to, *to.rglob("*")):
        account.own(path)
