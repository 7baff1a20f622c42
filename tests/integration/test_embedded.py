"""The embedded PostgreSQL: what it promises to the broker, and what becomes of it in a crash."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import psycopg
import pytest
import trustme
from psycopg.conninfo import conninfo_to_dict

from broker.embedded import EmbeddedPostgres, EmbeddedPostgresError, StopMode
from broker.embedded.account import Account
from broker.embedded.certificate import ensure_certificate
from broker.embedded.processes import server_processes, wait_until_gone
from tests.support.postgres import embedded_postgres

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.postgres import PostgresServer

_BROKER = """
import asyncio, json, os, sys
from pathlib import Path
from broker.embedded import EmbeddedPostgres

async def main():
    server = EmbeddedPostgres(Path(sys.argv[1]), postgres_bin=Path(sys.argv[2]))
    await server.start()
    print(json.dumps({"port": server.port}), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def _fetch(dsn: str, query: str) -> object:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        row = await (await connection.execute(query.encode())).fetchone()
        assert row is not None
        return row[0]


async def _execute(dsn: str, *statements: str) -> None:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        for statement in statements:
            await connection.execute(statement.encode())


async def test_the_broker_is_an_ordinary_user_and_can_verify_the_server(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    """The broker's role is no superuser, and the server's certificate holds for its address."""
    assert postgres.ca_certificate is not None
    authority = tmp_path / "ca.crt"
    authority.write_text(postgres.ca_certificate)
    async with await psycopg.AsyncConnection.connect(
        postgres.broker_dsn(), sslmode="verify-full", sslrootcert=str(authority)
    ) as connection:
        cursor = await connection.execute("SELECT current_setting('is_superuser')")
        assert await cursor.fetchone() == ("off",)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("data_checksums", "on"),
        ("listen_addresses", "127.0.0.1"),
        ("max_prepared_transactions", "0"),
        ("password_encryption", "scram-sha-256"),
        ("server_encoding", "UTF8"),
    ],
)
async def test_the_server_is_configured_for_tenants(
    postgres: PostgresServer, setting: str, expected: str
) -> None:
    """The settings that the isolation of tenants rests on are in force."""
    assert await _fetch(postgres.broker_dsn(), f"SHOW {setting}") == expected


async def test_contrib_extensions_are_there(postgres: PostgresServer) -> None:
    """The extensions that plans usually offer come with the server."""
    query = "SELECT array_agg(name::text) FROM pg_available_extensions"
    available = await _fetch(postgres.broker_dsn(), query)
    assert isinstance(available, list)
    assert set(available) >= {"btree_gist", "citext", "hstore", "pg_trgm", "pgcrypto"}


async def test_the_superuser_cannot_come_in_over_tcp(postgres: PostgresServer) -> None:
    """The superuser's password opens the Unix-domain socket and nothing else."""
    login = conninfo_to_dict(postgres.superuser_dsn())
    over_tcp = postgres.dsn(str(login["user"]), str(login["password"]), "postgres")
    with pytest.raises(psycopg.OperationalError, match="pg_hba"):
        await _fetch(over_tcp, "SELECT 1")
    assert await _fetch(postgres.superuser_dsn(), "SELECT current_user") == "postgres"


async def test_a_tenant_gets_into_its_own_database_only(servers: Path) -> None:
    """Databases that PUBLIC may connect to let in nobody but the members of the role they name."""
    async with embedded_postgres(servers / "server") as server:
        await _execute(
            server.superuser_dsn(),
            "CREATE ROLE o",
            "CREATE ROLE u LOGIN PASSWORD 'secret' IN ROLE o",
            "CREATE DATABASE o",
            "CREATE DATABASE pgbroker",
            "CREATE ROLE other",
            "CREATE DATABASE other",
        )
        tenant = f"postgresql://u:secret@{server.host}:{server.port}"
        assert await _fetch(f"{tenant}/o", "SELECT current_database()") == "o"
        for closed in ("other", "pgbroker", "postgres", "template1"):
            with pytest.raises(psycopg.OperationalError, match="pg_hba"):
                await _fetch(f"{tenant}/{closed}", "SELECT 1")


async def test_a_restart_keeps_the_port_and_the_data(servers: Path) -> None:
    """Credentials handed out before a restart work after it."""
    server = embedded_postgres(servers / "server")
    async with server:
        first = server.port, server.ca_certificate
        await _execute(server.superuser_dsn(), "CREATE TABLE t AS SELECT 1 AS a")
    async with server:
        assert (server.port, server.ca_certificate) == first
        assert await _fetch(server.superuser_dsn(), "SELECT a FROM t") == 1


@pytest.mark.parametrize("mode", [StopMode.IMMEDIATE, StopMode.KILL])
async def test_a_crash_loses_nothing_committed(servers: Path, mode: StopMode) -> None:
    """After the server was killed, the next start recovers it."""
    async with embedded_postgres(servers / "server", synchronous_commit="on") as server:
        await _execute(server.superuser_dsn(), "CREATE TABLE t AS SELECT 1 AS a")
        await server.stop(mode)
        assert server_processes(server.data_directory / "pgdata") == []
        await server.start()
        assert await _fetch(server.superuser_dsn(), "SELECT a FROM t") == 1


async def test_the_server_dies_with_a_killed_broker(
    servers: Path, postgres: PostgresServer
) -> None:
    """Kill -9 of the broker ends its server, and the next broker finds everything in order."""
    directory = servers / "server"
    broker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _BROKER, str(directory), str(postgres.bin_directory)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert broker.stdout is not None
    async with asyncio.timeout(60):
        port = json.loads(await broker.stdout.readline())["port"]
    assert server_processes(directory / "pgdata")
    broker.kill()
    await broker.wait()
    assert await wait_until_gone(directory / "pgdata", within=30)
    async with embedded_postgres(directory) as server:
        assert server.port == port
        log = (directory / "server.log").read_text()
        assert "not properly shut down" not in log, "the server was killed, not shut down"


async def test_ctrl_c_does_not_reach_the_server(servers: Path) -> None:
    """The terminal's SIGINT goes to the broker's process group, and the server is in another."""
    async with embedded_postgres(servers / "server") as server:
        processes = server_processes(server.data_directory / "pgdata")
        assert processes
        assert os.getpgrp() not in {os.getpgid(process) for process in processes}


async def test_one_directory_serves_one_broker(servers: Path) -> None:
    """A second broker on the same directory is told who has it, and the first goes on."""
    async with embedded_postgres(servers / "server") as server:
        with pytest.raises(EmbeddedPostgresError, match=rf"in use .*process {os.getpid()}"):
            await embedded_postgres(servers / "server").start()
        assert await _fetch(server.superuser_dsn(), "SELECT 1") == 1


async def test_a_directory_of_somebody_else_is_left_alone(servers: Path) -> None:
    """A directory with files in it that pgbroker did not make is refused as it is."""
    directory = servers / "precious"
    directory.mkdir(mode=0o755)
    (directory / "thesis.tex").touch()
    before = directory.stat()
    with pytest.raises(EmbeddedPostgresError, match="was not made by pgbroker"):
        await embedded_postgres(directory).start()
    assert [file.name for file in directory.iterdir()] == ["thesis.tex"]
    assert (directory.stat().st_uid, directory.stat().st_mode) == (before.st_uid, before.st_mode)


async def test_data_of_another_version_is_refused(servers: Path) -> None:
    """The message names both versions, and the data is still there."""
    directory = servers / "server"
    async with embedded_postgres(directory) as server:
        version = server.version
    version_file = directory / "pgdata" / "PG_VERSION"
    version_file.write_text("9\n")
    with pytest.raises(EmbeddedPostgresError, match=rf"PostgreSQL 9's.*PostgreSQL {version}\."):
        await embedded_postgres(directory).start()
    version_file.write_text(f"{version}\n")
    async with embedded_postgres(directory) as server:
        assert await _fetch(server.superuser_dsn(), "SELECT 1") == 1


async def test_a_half_made_cluster_is_not_adopted(servers: Path) -> None:
    """What an initdb that was killed left behind is removed, and a whole cluster is made."""
    directory = servers / "server"
    async with embedded_postgres(directory):
        pass
    (directory / "pgdata").rename(directory / "initdb-dead")
    async with embedded_postgres(directory) as server:
        assert await _fetch(server.superuser_dsn(), "SELECT 1") == 1
    assert not (directory / "initdb-dead").exists()


async def test_a_long_path_is_no_obstacle(servers: Path) -> None:
    """A socket's path is limited to 107 bytes; the data directory's is not."""
    directory = servers / ("x" * 100) / "server"
    directory.parent.mkdir()
    async with embedded_postgres(directory) as server:
        assert await _fetch(server.superuser_dsn(), "SELECT 1") == 1
        elsewhere = server.socket_directory
        assert elsewhere.stat().st_mode & 0o777 == 0o700
    assert not elsewhere.exists()


async def test_a_taken_port_is_replaced(servers: Path) -> None:
    """When another program has taken the remembered port, the server starts on another."""
    server = embedded_postgres(servers / "server")
    async with server:
        before = server.port
    with socket.create_server((server.host, before)):
        async with server:
            assert server.port != before
            assert await _fetch(server.superuser_dsn(), "SELECT 1") == 1


async def test_a_setting_that_postgresql_refuses_is_shown(servers: Path) -> None:
    """PostgreSQL's own words reach the reader, and the directory works again without it."""
    with pytest.raises(EmbeddedPostgresError, match="shared_buffers"):
        await embedded_postgres(servers / "server", shared_buffers="plenty").start()
    async with embedded_postgres(servers / "server") as server:
        assert await _fetch(server.superuser_dsn(), "SELECT 1") == 1


async def test_secrets_are_for_the_server_only(servers: Path) -> None:
    """Neither the superuser's password nor the TLS key can be read by others, nor is in a repr."""
    async with embedded_postgres(servers / "server") as server:
        for name in ("superuser-password", "server.key"):
            assert (server.data_directory / name).stat().st_mode & 0o777 == 0o600
        password = (server.data_directory / "superuser-password").read_text()
        assert password not in repr(server)
        assert password in server.superuser_dsn()


async def test_a_directory_without_postgresql_is_refused(servers: Path, tmp_path: Path) -> None:
    """The message names the directory and the option that takes another."""
    server = EmbeddedPostgres(servers / "server", postgres_bin=tmp_path)
    with pytest.raises(EmbeddedPostgresError, match=rf"{tmp_path} is not .*--postgres-bin"):
        await server.start()


async def test_binaries_are_unpacked_once_and_whole(servers: Path) -> None:
    """Two brokers that need the binaries at the same moment get the same, complete ones."""
    cache = servers / "cache"
    pair = [EmbeddedPostgres(servers / n, cache_directory=cache) for n in ("first", "second")]
    async with asyncio.TaskGroup() as tasks:
        for server in pair:
            tasks.create_task(server.start())
    try:
        assert len({server.bin_directory for server in pair}) == 1
        assert len(list(cache.iterdir())) == 1
    finally:
        for server in pair:
            await server.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as somebody else")
async def test_root_is_told_which_directory_is_closed(tmp_path: Path) -> None:
    """A data directory the server's user cannot reach is refused before anything is made."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(EmbeddedPostgresError, match=r"may not enter .*--data-dir"):
        await EmbeddedPostgres(closed / "server").start()
    assert list(closed.iterdir()) == []


def test_a_certificate_is_renewed_before_it_ends(tmp_path: Path) -> None:
    """A certificate with a week left is replaced, together with its authority; a new one stays."""
    account = Account(os.getuid(), os.getgid(), "me", switched=False)
    first = ensure_certificate(tmp_path, account)
    assert ensure_certificate(tmp_path, account) == first
    ending = trustme.CA().issue_cert("localhost", not_after=datetime.now(UTC) + timedelta(days=7))
    (tmp_path / "server.crt").write_bytes(ending.cert_chain_pems[0].bytes())
    assert ensure_certificate(tmp_path, account) != first


async def test_stopping_interrupts_clients_within_bounds(servers: Path) -> None:
    """A client in the middle of a long query does not hold up the end."""
    async with embedded_postgres(servers / "server") as server:
        busy = asyncio.create_task(_fetch(server.superuser_dsn(), "SELECT pg_sleep(600)"))
        async with asyncio.timeout(30):
            while not await _fetch(
                server.superuser_dsn(),
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'",
            ):
                pass
            await server.stop()
        with pytest.raises(psycopg.OperationalError):
            await busy
