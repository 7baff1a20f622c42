"""The servers file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trustme

from broker.config import ConfigurationError, load_servers

if TYPE_CHECKING:
    from pathlib import Path

DSN = "postgresql://admin:admin-secret@10.0.0.5/pgbroker"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Return an authority of our own."""
    return trustme.CA()


def _problems(path: Path, text: str) -> list[str]:
    path.write_text(text)
    with pytest.raises(ConfigurationError) as refusal:
        load_servers(path)
    return [str(problem).replace(str(path), path.name) for problem in refusal.value.problems]


def test_a_server_has_defaults_for_what_is_left_out(tmp_path: Path) -> None:
    """Name, host and connection string are enough."""
    path = tmp_path / "servers.yaml"
    path.write_text(f"servers: [{{name: main, host: db, admin_dsn: '{DSN}'}}]\n")
    (server,) = load_servers(path)
    assert (server.name, server.host, server.port) == ("main", "db", 5432)
    assert (server.pool, server.sslmode) == ("default", "prefer")
    assert (server.ca_certificate, server.max_databases) == (None, None)
    assert server.admin_dsn.reveal() == DSN


def test_secrets_and_certificates_may_be_in_files_beside_it(
    tmp_path: Path, authority: trustme.CA
) -> None:
    """Relative file names are relative to the servers file; every field is read."""
    (tmp_path / "main.dsn").write_text(DSN + "\n")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    path = tmp_path / "servers.yaml"
    path.write_text("""\
servers:
  - name: main
    pool: fast
    admin_dsn_file: main.dsn
    host: db.example.com
    port: 6432
    sslmode: verify-full
    ca_certificate_file: ca.pem
    max_databases: 200
    max_connections: 500
    max_storage: 2TiB
    labels: { disk: nvme }
""")
    (server,) = load_servers(path)
    assert server.admin_dsn.reveal() == DSN
    assert (server.pool, server.port, server.sslmode) == ("fast", 6432, "verify-full")
    assert (server.max_databases, server.max_connections) == (200, 500)
    assert server.max_storage == 2 * 2**40
    assert server.labels == {"disk": "nvme"}
    assert server.ca_certificate == authority.cert_pem.bytes().decode().rstrip("\n")


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ("host: db", "2: lacks admin_dsn, or admin_dsn_file with the name of a file"),
        ("host: db\n    admin_dsn: host=/run\n    admin_dsn_file: f", "5: has both admin_dsn and"),
        ("host: db\n    admin_dsn: mysql://h", "4: admin_dsn: must be a libpq connection string"),
        ("host: db\n    admin_dsn_file: none", "4: the file "),
        ("admin_dsn: host=/run", "2: servers[0] lacks 'host'."),
        ("host: db:5432/x\n    admin_dsn: host=/run", "3: servers[0].host: write one host name"),
        ("host: db\n    admin_dsn: host=/run\n    port: 0", "5: servers[0].port: must be at least"),
        (
            "host: db\n    admin_dsn: host=/run\n    sslmode: verify",
            "5: servers[0].sslmode: must be one of disable, allow, prefer, require, verify-ca",
        ),
        (
            "host: db\n    admin_dsn: host=/run\n    ca_certificate: PEM",
            "5: ca_certificate: is not a PEM certificate.",
        ),
        (
            "host: db\n    admin_dsn: host=/run\n    max_storage: 500",
            "5: servers[0].max_storage: write a whole number with a unit: KiB, MiB, GiB or TiB",
        ),
        (
            "host: db\n    admin_dsn: host=/run\n    max_storage: 500GB",
            "5: servers[0].max_storage: write a whole number with a unit: KiB, MiB, GiB or TiB",
        ),
        (
            "host: db\n    admin_dsn: host=/run\n    labels: {disk: 1}",
            "5: servers[0].labels.disk: must be text; put it in quotes",
        ),
        (
            "host: db\n    admin_dsn: host=/run\n    max_database: 5",
            "5: servers[0] has no key 'max_database'. Did you mean 'max_databases'?",
        ),
    ],
)
def test_a_mistake_names_its_line(tmp_path: Path, fields: str, problem: str) -> None:
    """What is wrong with a server is one problem with the line and the way out."""
    (found,) = _problems(tmp_path / "servers.yaml", f"servers:\n  - name: main\n    {fields}\n")
    assert found.startswith(f"servers.yaml:{problem}")


def test_a_private_key_never_becomes_a_certificate_for_tenants(
    tmp_path: Path, authority: trustme.CA
) -> None:
    """A file with a private key in it is refused: tenants get what it holds."""
    authority.private_key_pem.write_to_path(tmp_path / "ca.pem")
    fields = "host: db\n    admin_dsn: host=/run\n    ca_certificate_file: ca.pem"
    (found,) = _problems(tmp_path / "servers.yaml", f"servers:\n  - name: main\n    {fields}\n")
    assert found.startswith("servers.yaml:5: ca_certificate_file: contains a private key")


def test_two_servers_cannot_have_the_same_name(tmp_path: Path) -> None:
    """Instances are recorded with their server's name, so it is unique."""
    server = f"  - {{name: main, host: db, admin_dsn: '{DSN}'}}\n"
    found = _problems(tmp_path / "servers.yaml", f"servers:\n{server}{server}")
    assert found == ["servers.yaml:3: another server is already called 'main'."]


def test_no_server_at_all_is_refused(tmp_path: Path) -> None:
    """A broker without a server has nowhere to put a database."""
    found = _problems(tmp_path / "servers.yaml", "servers: []\n")
    assert found == ["servers.yaml:1: servers: must have at least 1 entry."]
