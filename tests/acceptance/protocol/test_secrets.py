"""Secrets: every flow and every kind of failure, and then a search for what must not be found."""

from __future__ import annotations

import base64
import json
import secrets
from typing import TYPE_CHECKING, Any, LiteralString

import psycopg
import pytest

from broker.store import migrate
from tests.integration.postgres.servers import PASSWORD as BROKER_PASSWORD
from tests.integration.postgres.servers import OwnServer
from tests.support.application import state_rows
from tests.support.catalog import BIG, CATALOG, SERVICE, SMALL
from tests.support.platform import Platform, new_id, path, rows
from tests.support.postgres import embedded_postgres
from tests.support.process import environment, running_broker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

    from tests.support.postgres import PostgresServer

USER = "olivia"


@pytest.fixture
async def talkative_server(servers: Path) -> AsyncIterator[OwnServer]:
    """Return a server that logs every statement with its parameters, and keeps statistics."""
    settings = {
        "log_statement": "all",
        "log_min_messages": "debug1",
        "log_min_duration_statement": "0",
        "log_parameter_max_length": "-1",
        "log_parameter_max_length_on_error": "-1",
        "log_connections": "on",
        "shared_preload_libraries": "pg_stat_statements",
    }
    async with embedded_postgres(servers / "talkative", **settings) as embedded:
        server = await OwnServer.prepare(embedded)
        with psycopg.connect(embedded.superuser_dsn(), autocommit=True) as superuser:
            superuser.execute("CREATE EXTENSION pg_stat_statements")
        yield server


class Witness:
    """Remembers what everybody may see, to be searched for what nobody may.

    Attributes:
        seen: Texts, by where they were found.
        secrets: By what they are.
    """

    def __init__(self) -> None:
        self.seen: dict[str, str] = {}
        self.secrets: dict[str, str] = {}

    def refused(self, response: httpx.Response) -> None:
        """Remember a refusal: it may be shown to anybody."""
        assert response.is_error
        self.seen[f"refusal {len(self.seen)}"] = f"{response.headers}{response.text}"

    def credentials(self, name: str, response: httpx.Response) -> dict[str, Any]:
        """Remember the password in a bind response."""
        credentials: dict[str, Any] = response.json()["credentials"]
        self.secrets[name] = credentials["password"]
        return credentials

    def search(self) -> list[str]:
        """Return which secret was found where."""
        return [
            f"{name} in {place}"
            for name, secret in self.secrets.items()
            for place, text in self.seen.items()
            if secret in text
        ]


async def test_no_secret_shows_anywhere(
    postgres: PostgresServer, talkative_server: OwnServer, tmp_path: Path
) -> None:
    """Logs, refusals, statistics and the state have no password, key or verifier in clear."""
    witness = Witness()
    key = base64.b64encode(secrets.token_bytes(32)).decode()
    password, next_password = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
    witness.secrets |= {
        "the encryption key": key,
        "the platform's password": password,
        "the platform's next password": next_password,
        "the header": base64.b64encode(f"{USER}:{password}".encode()).decode(),
        "the broker's own password": BROKER_PASSWORD,
    }
    dsn = talkative_server.dsn
    await migrate(dsn)
    (tmp_path / "catalog.yaml").write_text(CATALOG.replace("pool: other", "pool: default"), "utf-8")
    environ = environment(
        postgres,
        dsn,
        tmp_path,
        USERNAME=USER,
        PASSWORD=password,
        PASSWORD_NEXT=next_password,
        ENCRYPTION_KEYS=f"test:{key}",
        CATALOG_FILE=str(tmp_path / "catalog.yaml"),
        LOG_LEVEL="debug",
    )
    embedded = talkative_server.embedded
    place = {"name": "own", "admin_dsn": dsn, "host": embedded.host, "port": embedded.port}
    (tmp_path / "servers.yaml").write_text(json.dumps({"servers": [place]}), "utf-8")
    log = tmp_path / "broker.log"
    with running_broker(environ, log) as broker, Platform(broker.url, (USER, password)) as platform:
        _every_flow(platform, witness)
        _every_refusal(platform, witness)
        seen, verifiers = _inside(talkative_server)
        witness.seen |= seen
        witness.secrets |= verifiers
        await embedded.stop()
        _every_outage(platform, witness)
    witness.seen["the broker's log"] = log.read_text()
    witness.seen["the server's log"] = (embedded.data_directory / "server.log").read_text()
    # What is searched has to be what it claims to be.
    assert "operation succeeded" in witness.seen["the broker's log"]
    assert "CREATE TABLE made_by_a_tenant" in witness.seen["the server's log"]
    assert "INSERT INTO pgbroker.operations" in witness.seen["pg_stat_statements"]
    assert len(witness.secrets) > 12
    assert witness.search() == []


def _every_flow(platform: Platform, witness: Witness) -> None:
    """Do everything that succeeds; one instance with two bindings is left."""
    parameters = {"extensions": ["hstore"], "init-db-args": "--data-checksums"}
    instance = platform.provisioned(parameters=parameters)
    first, second, third = new_id(), new_id(), new_id()
    credentials = witness.credentials("the first binding", platform.bind(instance, first))
    witness.credentials("the first binding again", platform.bind(instance, first))
    rows(credentials, "CREATE TABLE made_by_a_tenant (a int)")
    rotation = platform.bind(instance, second, None, predecessor_binding_id=first)
    witness.credentials("its successor", rotation)
    assert platform.fetch(instance, second).status_code == 200
    assert platform.update(instance, plan_id=BIG).status_code == 200
    reading = platform.bind(instance, third, BIG, parameters={"role": "read-only"})
    witness.credentials("a read-only binding", reading)
    assert platform.unbind(instance, first, BIG).status_code == 200
    gone = platform.provisioned()
    assert platform.deprovision(gone).status_code == 200
    assert platform.poll(gone).status_code == 410


def _every_refusal(platform: Platform, witness: Witness) -> None:
    """Send everything that is refused, secrets in it where a client might put them."""
    known = dict(witness.secrets)
    instance = platform.provisioned()
    binding = new_id()
    witness.refused(platform.bind(instance, binding, parameters={"role": "no-such-role"}))
    witness.refused(platform.provision(instance, BIG))
    witness.refused(platform.update(instance, parameters={"init-db-args": "--locale=C"}))
    for text in known.values():
        body = {"service_id": SERVICE, "plan_id": SMALL}
        witness.refused(platform.http.put(path(new_id()), json={**body, "context": text}))
        witness.refused(platform.http.put(path(new_id()), content=f'{{"a": "{text}"'))
        witness.refused(platform.http.put(path(new_id()), content=f'{{"{text}": 1, "{text}": 1}}'))
        witness.refused(platform.fetch(new_id(), query=f"?accepts_incomplete={text}"))
        witness.refused(platform.http.get("/v2/catalog", auth=(USER, text[:-1])))
        for name in ("Authorization", "X-Broker-API-Originating-Identity", "X-Broker-API-Version"):
            witness.refused(platform.http.get("/v2/no-such", auth=None, headers={name: text}))
    locale = {"init-db-args": "--locale=xx_XX"}
    witness.refused(platform.provision(new_id(), parameters=locale))


def _every_outage(platform: Platform, witness: Witness) -> None:
    """Ask for everything while nothing is there."""
    instance, binding = new_id(), new_id()
    for answer in (
        platform.provision(instance),
        platform.update(instance, plan_id=BIG),
        platform.bind(instance, binding),
        platform.fetch(instance, binding),
        platform.unbind(instance, binding),
        platform.deprovision(instance),
        platform.http.get("/readyz"),
    ):
        assert answer.status_code == 503
        witness.refused(answer)


def _inside(server: OwnServer) -> tuple[dict[str, str], dict[str, str]]:
    """Return what others can read or steal on the server, and the passwords' verifiers."""
    queries: dict[str, LiteralString] = {
        "pg_stat_activity": "SELECT query FROM pg_stat_activity",
        "pg_stat_statements": "SELECT query FROM pg_stat_statements",
        "the comments": "SELECT description FROM pg_shdescription",
        "the settings of roles": "SELECT setconfig::text FROM pg_db_role_setting",
    }
    with psycopg.connect(server.embedded.superuser_dsn(), autocommit=True) as superuser:
        seen = {name: str(superuser.execute(query).fetchall()) for name, query in queries.items()}
        verifiers = superuser.execute(
            "SELECT rolname, rolpassword FROM pg_authid WHERE rolpassword IS NOT NULL"
        ).fetchall()
    state = state_rows(server.dsn)
    assert len(state["bindings"]) == 2
    return seen | {"the state": str(state)}, {
        f"the verifier of {role}": verifier for role, verifier in verifiers
    }
