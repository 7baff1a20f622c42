"""From environment variables to settings."""

from __future__ import annotations

import os
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from broker.config import Settings, load_settings
from broker.config.environment import DEFAULT_CATALOG

from .examples import CATALOG, edited, environment_problems, prefixed

DEFAULTS = {
    "bind_host": "127.0.0.1",
    "bind_port": 8080,
    "tls_certificate_file": None,
    "tls_private_key_file": None,
    "max_body_bytes": 1024 * 1024,
    "sync_window": timedelta(seconds=50),
    "lease": timedelta(seconds=30),
    "log_format": "json",
    "log_level": "info",
}


def test_the_smallest_environment_is_enough(environ: dict[str, str]) -> None:
    """Five variables make settings; everything else has its default."""
    settings = load_settings(environ)
    assert settings.state_dsn.reveal() == environ["PGBROKER_STATE_DSN"]
    assert [server.name for server in settings.servers] == ["main"]
    (platform,) = settings.platforms
    assert (platform.name, platform.username) == ("default", "platform")
    assert [password.reveal() for password in platform.passwords] == ["a-long-password"]
    assert [(key.id, key.key) for key in settings.encryption_keys] == [("k1", bytes(range(32)))]
    assert settings.catalog.offerings[0].name == "postgres-database"
    modified = datetime.fromtimestamp(int(DEFAULT_CATALOG.stat().st_mtime), UTC)
    assert settings.catalog_modified == modified
    assert {name: getattr(settings, name) for name in DEFAULTS} == DEFAULTS


def test_the_records_and_the_variables_have_the_same_defaults(environ: dict[str, str]) -> None:
    """Settings made in code have the defaults that the environment documents."""
    in_code = {field.name: field.default for field in fields(Settings) if field.name in DEFAULTS}
    assert in_code == DEFAULTS
    assert load_settings(environ).lease == in_code["lease"]


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"BIND": "10.0.0.9:80"}, {"bind_host": "10.0.0.9", "bind_port": 80}),
        ({"BIND": "[::1]:0"}, {"bind_host": "::1", "bind_port": 0}),
        ({"BIND": "localhost:65535"}, {"bind_host": "localhost", "bind_port": 65535}),
        ({"MAX_BODY_BYTES": "2048"}, {"max_body_bytes": 2048}),
        ({"SYNC_WINDOW_SECONDS": "0"}, {"sync_window": timedelta(0)}),
        ({"SYNC_WINDOW_SECONDS": "0.25"}, {"sync_window": timedelta(milliseconds=250)}),
        ({"LEASE_SECONDS": "5"}, {"lease": timedelta(seconds=5)}),
        ({"SERVER_CONNECTIONS": "4"}, {"server_connections": 4}),
        ({"LOG_FORMAT": "console"}, {"log_format": "console"}),
        ({"LOG_LEVEL": "DEBUG"}, {"log_level": "debug"}),
    ],
)
def test_a_variable_takes_the_place_of_its_default(
    environ: dict[str, str], variables: dict[str, str], expected: dict[str, Any]
) -> None:
    """A value that is given reaches the settings with its type."""
    settings = load_settings({**environ, **prefixed(variables)})
    assert {name: getattr(settings, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"BIND": ":8080"}, "BIND: is ':8080'; write an address and a port, such as"),
        ({"BIND": "127.0.0.1"}, "BIND: is '127.0.0.1'; write an address and a port"),
        ({"BIND": "127.0.0.1:65536"}, "BIND: is '127.0.0.1:65536'; write an address"),
        ({"BIND": "::1:80"}, "BIND: is '::1:80'; write an address and a port"),
        ({"BIND": "[127.0.0.1]:80"}, "BIND: is '[127.0.0.1]:80'; write an address"),
        ({"BIND": "127.0.0.1:²"}, "BIND: is '127.0.0.1:²'; write an address"),
        ({"MAX_BODY_BYTES": "1MB"}, "MAX_BODY_BYTES: is '1MB'; write a whole number from 1024"),
        ({"MAX_BODY_BYTES": "1"}, "MAX_BODY_BYTES: is '1'; write a whole number from 1024"),
        ({"MAX_BODY_BYTES": "٣٠٠٠"}, "MAX_BODY_BYTES: is '٣٠٠٠'; write a whole number"),
        ({"SYNC_WINDOW_SECONDS": "60"}, "SYNC_WINDOW_SECONDS: is '60'; write seconds from 0 to 59"),
        ({"SYNC_WINDOW_SECONDS": "nan"}, "SYNC_WINDOW_SECONDS: is 'nan'; write seconds"),
        (
            {"SERVER_CONNECTIONS": "0"},
            "SERVER_CONNECTIONS: is '0'; write a whole number from 1 to 1000",
        ),
        ({"LEASE_SECONDS": "0"}, "LEASE_SECONDS: is '0'; write seconds from 1 to 3600"),
        ({"LOG_LEVEL": "warn"}, "LOG_LEVEL: is 'warn'; allowed are debug, info, warning, error."),
        ({"LOG_FORMAT": "text"}, "LOG_FORMAT: is 'text'; allowed are json, console."),
        ({"PLATFORM_NAME": "A b"}, "PLATFORM_NAME: is 'A b'; use lower-case letters, digits"),
        ({"STATE_DSN": "mysql://h/d"}, "STATE_DSN: must be a libpq connection string: "),
        ({"STATE_DSN": "postgresql+psycopg://h/d"}, "STATE_DSN: must be a libpq connection string"),
        ({"STATE_DSN": "postgresql://h/d "}, "STATE_DSN: must not contain white space"),
        ({"STATE_DSN": " "}, "STATE_DSN: is set, but empty; give it a value or unset it."),
        ({"USERNAME": "a:b"}, "USERNAME: must not contain a colon or a control character"),
        ({"USERNAME": "a\nb"}, "USERNAME: must not contain a colon or a control character"),
        ({"USERNAME": "a-long-password"}, "PASSWORD: must not be the user name."),
        ({"PASSWORD": "too-short"}, "PASSWORD: must have at least 12 characters; make one with"),
        ({"PASSWORD": "a-long-password\n"}, "PASSWORD: must not contain a control character"),
        ({"PASSWORD_NEXT": "short"}, "PASSWORD_NEXT: must have at least 12 characters"),
        ({"PASSWORD_NEXT": "a-long-password"}, "PASSWORD_NEXT: must differ from the password"),
        ({"TLS_CERT_FILE": "/c.pem"}, "TLS_KEY_FILE: is not set: TLS needs both"),
        ({"TLS_KEY_FILE": "/k.pem"}, "TLS_CERT_FILE: is not set: TLS needs both"),
        ({"ENCRYPTION_KEYS": "k1"}, "ENCRYPTION_KEYS: entry 1 is not 'id:key'"),
        ({"ENCRYPTION_KEYS": "k1:AAAA"}, "ENCRYPTION_KEYS: the key 'k1' is not 32 bytes"),
        ({"ENCRYPTION_KEYS": "k1:ä"}, "ENCRYPTION_KEYS: the key 'k1' is not 32 bytes"),
        (
            {"ENCRYPTION_KEYS": f"k1:{'A' * 43}="},
            "ENCRYPTION_KEYS: the key 'k1' is one byte repeated.",
        ),
    ],
)
def test_a_wrong_value_is_one_problem_that_says_what_is_allowed(
    environ: dict[str, str], variables: dict[str, str], problem: str
) -> None:
    """A value that cannot be used is refused with the variable and what to write instead."""
    (found,) = environment_problems({**environ, **prefixed(variables)})
    assert found.startswith(f"PGBROKER_{problem}")


def test_everything_that_is_missing_is_said_at_once() -> None:
    """An empty environment is one problem for each required variable."""
    assert sorted(problem.split(" is not set")[0] for problem in environment_problems({})) == [
        "PGBROKER_ENCRYPTION_KEYS:",
        "PGBROKER_PASSWORD:",
        "PGBROKER_SERVERS_FILE:",
        "PGBROKER_STATE_DSN:",
        "PGBROKER_USERNAME:",
    ]


def test_problems_in_variables_and_files_are_said_together(
    environ: dict[str, str], tmp_path: Path
) -> None:
    """A wrong variable, a wrong catalog and a wrong servers file are all in one list."""
    catalog = tmp_path / "catalog.yaml"
    catalog.write_text(edited(CATALOG, "connections: 50", "connections: 0"))
    servers = Path(environ["PGBROKER_SERVERS_FILE"])
    servers.write_text(edited(servers.read_text(), "name: main", "name: Main"))
    environ |= prefixed({"CATALOG_FILE": str(catalog), "LOG_LEVEL": "loud"})
    assert sorted(problem.split(": ")[0] for problem in environment_problems(environ)) == sorted(
        ["PGBROKER_LOG_LEVEL", f"{catalog}:16", f"{servers}:2"]
    )


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("PGBROKER_PASWORD", "Did you mean 'PGBROKER_PASSWORD'?"),
        ("PGBROKER_STATE_DSN_FLIE", "Did you mean 'PGBROKER_STATE_DSN_FILE'?"),
        ("PGBROKER_CATALOG_FILE_FILE", "Did you mean 'PGBROKER_CATALOG_FILE'?"),
        ("PGBROKER_PORT", "See docs/configuration.md."),
        ("PGBROKER_DEV_", "See docs/configuration.md."),
    ],
)
def test_an_unknown_variable_is_refused_with_the_nearest_known_one(
    environ: dict[str, str], name: str, hint: str
) -> None:
    """A misspelt variable would be silently without effect; it is a problem instead."""
    (problem,) = environment_problems({**environ, name: "8080"})
    assert problem.startswith(f"{name}: there is no such setting.")
    assert problem.endswith(hint)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PGBROKER_SERVICE_HOST", "10.96.0.7"),
        ("PGBROKER_SERVICE_PORT", "80"),
        ("PGBROKER_SERVICE_PORT_HTTP", "80"),
        ("PGBROKER_PORT", "tcp://10.96.0.7:80"),
        ("PGBROKER_PORT_80_TCP", "tcp://10.96.0.7:80"),
        ("PGBROKER_PORT_80_TCP_PROTO", "tcp"),
        ("PGBROKER_STATE_POSTGRES_SERVICE_HOST", "10.96.0.8"),
        ("PGBROKER_STATE_POSTGRES_PORT", "tcp://10.96.0.8:5432"),
        ("PGBROKER_STATE_POSTGRES_PORT_5432_TCP_ADDR", "10.96.0.8"),
        ("PGBROKER_DEV_PORT", "1234"),
        ("PGBROKER_TEST_POSTGRES_BIN", "/usr/lib/postgresql/18/bin"),
    ],
)
def test_variables_of_kubernetes_services_and_of_tools_are_left_alone(
    environ: dict[str, str], name: str, value: str
) -> None:
    """What Kubernetes sets for a Service called pgbroker does not stop the broker's start."""
    assert load_settings({**environ, name: value}) == load_settings(environ)


def test_a_platforms_file_takes_the_place_of_the_single_platform(
    environ: dict[str, str], tmp_path: Path
) -> None:
    """Several platforms come from a file, and the variables for one must be gone then."""
    file = tmp_path / "platforms.yaml"
    file.write_text("platforms: [{name: a, username: u, password: platform-a-password}]\n")
    environ["PGBROKER_PLATFORMS_FILE"] = str(file)
    assert [problem.split(":")[0] for problem in environment_problems(environ)] == [
        "PGBROKER_USERNAME",
        "PGBROKER_PASSWORD",
    ]
    del environ["PGBROKER_USERNAME"], environ["PGBROKER_PASSWORD"]
    assert [platform.name for platform in load_settings(environ).platforms] == ["a"]


@pytest.mark.parametrize("name", ["SERVERS_FILE", "CATALOG_FILE", "PLATFORMS_FILE"])
def test_a_missing_file_is_said_with_its_variable(
    environ: dict[str, str], tmp_path: Path, name: str
) -> None:
    """The problem with a file that is not there is the variable that names it."""
    del environ["PGBROKER_USERNAME"], environ["PGBROKER_PASSWORD"]
    path = tmp_path / "nowhere.yaml"
    found = environment_problems({**environ, f"PGBROKER_{name}": str(path)})
    reason = "cannot be read: no such file or directory."
    assert f"PGBROKER_{name}: the file {path} {reason}" in found


def test_a_plan_without_a_server_is_said_with_its_line(
    environ: dict[str, str], tmp_path: Path
) -> None:
    """A plan whose pool has no server could never be provisioned."""
    catalog = tmp_path / "catalog.yaml"
    catalog.write_text(
        edited(CATALOG, "name: big", "name: big\n        pool: fast").replace(
            "        update_to: [big]\n", ""
        )
    )
    environ["PGBROKER_CATALOG_FILE"] = str(catalog)
    (problem,) = environment_problems(environ)
    assert problem == (
        f"{catalog}:11: the plan 'big' takes its servers from the pool 'fast', and no server is in "
        "it; the servers file has default."
    )


def test_a_plan_whose_labels_no_server_has_is_said_with_its_line(
    environ: dict[str, str], tmp_path: Path
) -> None:
    """Labels that no server of the pool has are a typing mistake, found at the start."""
    catalog = tmp_path / "catalog.yaml"
    labelled = "name: big\n        server_labels: {disk: nvme, zone: a}"
    catalog.write_text(edited(CATALOG, "name: big", labelled))
    environ["PGBROKER_CATALOG_FILE"] = str(catalog)
    (problem,) = environment_problems(environ)
    assert problem == (
        f"{catalog}:12: the plan 'big' requires the labels disk: nvme, zone: a, and no server of "
        "the pool 'default' has them all."
    )
    servers = Path(environ["PGBROKER_SERVERS_FILE"])
    servers.write_text(f"{servers.read_text()}    labels: {{disk: nvme, zone: a, more: b}}\n")
    big = load_settings(environ).catalog.offerings[0].plans[1]
    assert big.server_labels == {"disk": "nvme", "zone": "a"}


def test_the_catalog_file_dates_the_catalog(environ: dict[str, str], tmp_path: Path) -> None:
    """When the catalog was modified is when its file was, in whole seconds."""
    catalog = tmp_path / "catalog.yaml"
    catalog.write_text(CATALOG)
    os.utime(catalog, (1_700_000_000.9, 1_700_000_000.9))
    environ["PGBROKER_CATALOG_FILE"] = str(catalog)
    settings = load_settings(environ)
    assert settings.catalog_modified == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert settings.catalog.offerings[0].name == "postgres"


def test_a_certificate_and_its_key_turn_tls_on(environ: dict[str, str], tmp_path: Path) -> None:
    """A certificate with its private key is accepted, one with another's key is refused."""
    authority = trustme.CA()
    ours, another = authority.issue_cert("localhost"), authority.issue_cert("localhost")
    certificate, key, other_key = (tmp_path / name for name in ("c.pem", "k.pem", "o.pem"))
    ours.cert_chain_pems[0].write_to_path(certificate)
    ours.private_key_pem.write_to_path(key)
    another.private_key_pem.write_to_path(other_key)
    environ |= prefixed({"TLS_CERT_FILE": str(certificate), "TLS_KEY_FILE": str(key)})
    settings = load_settings(environ)
    assert (settings.tls_certificate_file, settings.tls_private_key_file) == (certificate, key)
    (problem,) = environment_problems({**environ, "PGBROKER_TLS_KEY_FILE": str(other_key)})
    assert "are not a PEM certificate and its private key" in problem
    (problem,) = environment_problems(
        {**environ, "PGBROKER_TLS_KEY_FILE": str(tmp_path / "none.pem")}
    )
    assert "cannot be read: no such file or directory" in problem
