"""Secrets stay where they belong, also on a server that logs everything."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from broker.domain.database import Access
from broker.domain.errors import BrokerError
from tests.integration.postgres.servers import PASSWORD, OwnServer
from tests.integration.postgres.tenants import database_spec, login_spec
from tests.support.postgres import embedded_postgres

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_server_that_logs_everything_writes_no_verifier(
    servers: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither passwords nor verifiers reach the server's log, our log, errors or reprs."""
    caplog.set_level(logging.DEBUG)
    everything = {
        "log_statement": "all",
        "log_min_duration_statement": "0",
        "log_min_error_statement": "debug5",
        "log_min_messages": "debug1",
        "log_connections": "on",
    }
    spec = database_spec()
    seen: list[str] = []
    secrets = [PASSWORD]
    async with embedded_postgres(servers / "talkative", **everything) as embedded:
        own = await OwnServer.prepare(embedded)
        async with own.engine() as engine:
            for step in (engine.ensure_roles, engine.ensure_database, engine.initialise_database):
                await step(spec)
            for access in (Access.WRITE, Access.READ):
                login, password = login_spec(spec, access)
                assert login.verifier is not None
                secrets += [password.reveal(), login.verifier.reveal()]
                await engine.ensure_login(login)
                await engine.ensure_login(login)
                for wrong in (
                    replace(login, tag="another binding"),
                    replace(login, database="dmissing"),
                    replace(login, name="pg_reserved"),
                ):
                    with pytest.raises(BrokerError) as refusal:
                        await engine.ensure_login(wrong)
                    seen += [repr(refusal.value), str(refusal.value), repr(wrong)]
                await engine.drop_login(login.name, database=spec.name, owner=spec.owner)
        log = (embedded.data_directory / "server.log").read_text(errors="replace")
    # The log does log: what it has is other people's statements, and our connections.
    assert "connection authorized: user=pgbroker" in log
    haystack = "\n".join([log, caplog.text, *seen])
    assert [secret for secret in secrets if secret in haystack] == []
    assert "SCRAM-SHA-256$" not in haystack
