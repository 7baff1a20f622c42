"""Preparing and checking the configured servers, for ``pgbroker servers``."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import structlog
from rich.table import Table
from rich.text import Text

from broker.bootstrap.fleet import admin_login
from broker.config.connections import dsn_problem
from broker.domain.errors import BrokerError, InvalidRequest, NotFound
from broker.postgres.check import TLS
from broker.postgres.prepare import Finding, Prepared, check, prepare_for

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from broker.config import ServerSettings
    from broker.postgres.admin_login import AdminLogin
    from broker.store.admin_passwords import AdminPasswords

log = structlog.get_logger()

_WITHOUT_TLS = {"disable", "allow", "prefer"}
"""The values of libpq's ``sslmode`` that a server without TLS is good for."""


@dataclass(frozen=True, slots=True)
class Report:
    """What was found on one server.

    Attributes:
        server: Its name.
        findings: What an operator should know; none is good.
    """

    server: str
    findings: tuple[Finding, ...]

    @property
    def unfit(self) -> bool:
        """Whether tenants would not be fenced, or the broker could not work."""
        return any(finding.severity == "error" for finding in self.findings)


async def check_all(servers: Sequence[ServerSettings]) -> list[Report]:
    """Look at all servers at once, each as its connection string says."""
    return await asyncio.gather(*map(_check, servers))


async def _check(server: ServerSettings, login: AdminLogin | None = None) -> Report:
    try:
        found = await check(server.admin_dsn.reveal(), login=login)
        return Report(server.name, tuple(for_tenants(finding, server) for finding in found))
    except BrokerError as exc:
        unreachable = Finding(
            subject="connection",
            severity="error",
            message=exc.description if exc.cause is None else f"{exc.description} ({exc.cause})",
            remedy="Check its admin_dsn, and whether the server runs. If it was never prepared: "
            f"pgbroker servers prepare {server.name} --superuser-dsn-file FILE",
        )
        return Report(server.name, (unreachable,))


def for_tenants(finding: Finding, server: ServerSettings) -> Finding:
    """Return a finding as it is for tenants who connect the way the servers file tells them."""
    if finding.subject != TLS or server.sslmode in _WITHOUT_TLS:
        return finding
    return Finding(
        subject=TLS,
        severity="error",
        message=f"TLS is off, and tenants are told sslmode={server.sslmode}: none can connect.",
        remedy=f"{finding.remedy} Or set another sslmode for it in the servers file.",
    )


async def log_findings(servers: Sequence[ServerSettings], records: AdminPasswords) -> None:
    """Look at all servers and log what an operator should know, at every start.

    Args:
        servers: The configured ones.
        records: What the passwords of the broker's roles were changed to.
    """
    looks = (_check(server, admin_login(server, records)) for server in servers)
    for report in await asyncio.gather(*looks):
        for finding in report.findings:
            write = log.error if finding.severity == "error" else log.warning
            write(
                "server is not as it should be",
                server=report.server,
                subject=finding.subject,
                finding=finding.message,
                remedy=finding.remedy,
            )


async def prepare_server(
    servers: Sequence[ServerSettings], name: str, *, superuser_dsn: str
) -> Prepared:
    """Prepare one server with the role, password and database its ``admin_dsn`` names.

    Args:
        servers: The configured ones.
        name: Which of them.
        superuser_dsn: libpq connection string of a superuser of that server.

    Returns:
        What was there before.

    Raises:
        NotFound: There is no server of that name.
        BrokerError: The server cannot be reached, would not be fenced, or is another one than the
            broker's connection string leads to.
    """
    server = find_server(servers, name)
    return await prepare_for(server.admin_dsn.reveal(), superuser_dsn=superuser_dsn)


def read_dsn(file: Path) -> str:
    """Read a connection string from a file.

    Raises:
        InvalidRequest: It cannot be read, or has none in it.
    """
    try:
        dsn = file.read_text("utf-8").strip()
    except OSError as exc:
        raise InvalidRequest(f"{file} cannot be read: {exc.strerror}.") from exc
    except UnicodeDecodeError as exc:
        raise InvalidRequest(f"{file} is not UTF-8 text.") from exc
    problem = dsn_problem(dsn)
    if problem is not None:
        raise InvalidRequest(f"What is in {file} {problem}")
    return dsn


def find_server(servers: Sequence[ServerSettings], name: str) -> ServerSettings:
    """Return a server of the servers file.

    Raises:
        NotFound: There is no server of that name.
    """
    for server in servers:
        if server.name == name:
            return server
    known = ", ".join(server.name for server in servers)
    raise NotFound(f"There is no server {name!r} in the servers file; it has: {known}.")


def findings_table(reports: Sequence[Report]) -> Table:
    """Return a table with a line for each finding, or one that says all is well."""
    table = Table("server", "", "what", "finding", "remedy", box=None, pad_edge=False)
    for report in reports:
        if not report.findings:
            table.add_row(report.server, Text("ok", "green"), "", "fit for tenants", "")
        for finding in report.findings:
            color = "red" if finding.severity == "error" else "yellow"
            mark = Text(finding.severity, color)
            table.add_row(report.server, mark, finding.subject, finding.message, finding.remedy)
    return table


def findings_data(reports: Sequence[Report]) -> list[dict[str, Any]]:
    """Return the same for a program; a server without findings is fit for tenants."""
    return [
        {"server": report.server, "findings": [asdict(finding) for finding in report.findings]}
        for report in reports
    ]
