"""The command ``pgbroker``: parsing arguments and printing; everything else is elsewhere."""

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
import uvloop
from rich.console import Console

from broker import __version__

if TYPE_CHECKING:
    from broker.bootstrap.development import Address

_T = TypeVar("_T")

app = typer.Typer(
    name="pgbroker",
    help="An Open Service Broker for PostgreSQL.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
catalog_app = typer.Typer(help="The catalog file.", no_args_is_help=True)
servers_app = typer.Typer(help="The servers that hold tenant databases.", no_args_is_help=True)
app.add_typer(catalog_app, name="catalog")
app.add_typer(servers_app, name="servers")

out = Console()
err = Console(stderr=True)


@app.command()
def dev(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="TCP port to listen on.", min=0, max=65535)] = 8080,
    data_dir: Annotated[
        Path | None, typer.Option(help="Where databases, state and secrets are kept.")
    ] = None,
    postgres_bin: Annotated[
        Path | None,
        typer.Option(help="The bin directory of a PostgreSQL to run instead of the embedded one."),
    ] = None,
) -> None:
    """Run a broker with a private PostgreSQL; nothing has to be installed or configured."""
    from broker.bootstrap import development  # noqa: PLC0415
    from broker.bootstrap.logs import configure_logging  # noqa: PLC0415
    from broker.embedded import default_data_directory  # noqa: PLC0415

    configure_logging(log_format="console", level="info")
    directory = data_dir or default_data_directory()
    err.print(f"Data directory: {directory}", highlight=False, soft_wrap=True)
    _run(
        development.run(
            data_directory=directory,
            postgres_bin=postgres_bin,
            host=host,
            port=port,
            environ=os.environ,
            started=_welcome,
        ),
        # PostgreSQL may have to run as another user, which uvloop's subprocesses cannot.
        run=asyncio.run,
    )
    err.print("Stopped. The data is kept; start again to find it.")


@app.command()
def serve() -> None:
    """Run a broker; everything it needs comes from PGBROKER_* variables and the files they name."""
    from broker.bootstrap import production  # noqa: PLC0415
    from broker.bootstrap.logs import configure_logging  # noqa: PLC0415
    from broker.config import load_settings  # noqa: PLC0415

    with _explained():
        settings = load_settings(os.environ)
    configure_logging(log_format=settings.log_format, level=settings.log_level)
    _run(production.run(settings))


@app.command()
def migrate() -> None:
    """Bring the state database to the schema of this version; safe to run at any time."""
    from broker.config import load_settings  # noqa: PLC0415
    from broker.store.migrate import migrate as bring_up_to_date  # noqa: PLC0415

    with _explained():
        settings = load_settings(os.environ)
    applied = _run(bring_up_to_date(settings.state_dsn.reveal()))
    for revision in applied:
        out.print(f"applied {revision}", highlight=False)
    out.print("The state database is up to date.")


@app.command()
def smoke(
    url: Annotated[
        str,
        typer.Argument(
            help="The broker's URL. Its credentials stand in it, or in PGBROKER_USERNAME and "
            "PGBROKER_PASSWORD (or PGBROKER_PASSWORD_FILE).",
            show_default=False,
        ),
    ],
    *,
    service: Annotated[
        str | None, typer.Option(help="Name or id of the offering.", show_default="the first")
    ] = None,
    plan: Annotated[
        str | None,
        typer.Option(
            help="Name or id of the plan.", show_default="the first that is free and can be bound"
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option(help="Seconds until it is given up and cleaned up.", min=1)
    ] = 600,
    ca_file: Annotated[
        Path | None, typer.Option(help="PEM certificates to trust instead of the system's.")
    ] = None,
    insecure: Annotated[bool, typer.Option(help="Accept any certificate.")] = False,
    json: Annotated[bool, typer.Option(help="Print one JSON document.")] = False,
) -> None:
    """Try a broker out: the whole life of an instance, with a look into the database."""
    from broker.smoke import TargetUnusable, Wishes, find_target  # noqa: PLC0415
    from broker.smoke import smoke as run_smoke  # noqa: PLC0415

    try:
        target = find_target(url, os.environ, ca_file=ca_file, insecure=insecure)
    except TargetUnusable as exc:
        err.print(str(exc), style="red", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(2) from exc
    wishes = Wishes(service=service, plan=plan, timeout=timeout, as_json=json)
    raise typer.Exit(run_smoke(target, wishes, out))


@catalog_app.command("check")
def catalog_check(
    file: Annotated[Path, typer.Argument(help="A catalog file.", show_default=False)],
) -> None:
    """Check a catalog file; show what it offers, or everything that is wrong with it."""
    from broker.config.report import check_catalog  # noqa: PLC0415

    if not check_catalog(file, out):
        raise typer.Exit(1)


@servers_app.command("check")
def servers_check(
    file: Annotated[Path, typer.Argument(envvar="PGBROKER_SERVERS_FILE", help="A servers file.")],
) -> None:
    """Look at every server as the broker's own role, and say what is missing on it."""
    from broker.bootstrap.servers import check_all, findings_table  # noqa: PLC0415
    from broker.config import load_servers  # noqa: PLC0415

    with _explained():
        reports = _run(check_all(load_servers(file)))
    out.print(findings_table(reports))
    if any(report.unfit for report in reports):
        raise typer.Exit(1)


@servers_app.command("prepare")
def servers_prepare(
    name: Annotated[str, typer.Argument(help="A server of the servers file.")],
    file: Annotated[
        Path, typer.Option("--file", envvar="PGBROKER_SERVERS_FILE", help="A servers file.")
    ],
    superuser_dsn_file: Annotated[
        typer.FileText, typer.Option(help="File with a superuser's connection string for it.")
    ],
) -> None:
    """Make a server fit for tenants, once: the broker's role, its database, closed defaults."""
    from broker.bootstrap.servers import prepare_server  # noqa: PLC0415
    from broker.config import load_servers  # noqa: PLC0415

    with _explained():
        superuser_dsn = superuser_dsn_file.read().strip()
        _run(prepare_server(load_servers(file), name, superuser_dsn=superuser_dsn))
    out.print(f"The server {name} is prepared; now run: pgbroker servers check", highlight=False)


def _version(asked: bool) -> None:
    if asked:
        out.print(f"pgbroker {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """An Open Service Broker for PostgreSQL."""


def main() -> None:
    """Run the command line."""
    app()


def _run(work: Coroutine[object, object, _T], *, run: Callable[..., _T] = uvloop.run) -> _T:
    with _explained():
        return run(work)


@contextmanager
def _explained() -> Iterator[None]:
    """Turn what an operator can mend into a message and an exit status of 1."""
    from broker.bootstrap.causes import cause_of  # noqa: PLC0415
    from broker.bootstrap.server import AddressUnavailable  # noqa: PLC0415
    from broker.config import ConfigurationError  # noqa: PLC0415
    from broker.domain.errors import BrokerError, StateUnavailable  # noqa: PLC0415
    from broker.embedded import EmbeddedPostgresError  # noqa: PLC0415

    try:
        yield
    except (AddressUnavailable, BrokerError, ConfigurationError, EmbeddedPostgresError) as exc:
        err.print(str(exc), style="red", highlight=False, markup=False, soft_wrap=True)
        cause = cause_of(exc) if isinstance(exc, StateUnavailable) else None
        if cause is not None:
            # The user of a platform is told to try again; whoever sits here can mend it.
            hint = f"PGBROKER_STATE_DSN leads to: {cause}"
            err.print(hint, highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(1) from exc


def _welcome(address: "Address") -> None:
    login = f"{address.username}:{address.password.reveal()}"
    url = address.url.replace("http://", f"http://{login}@")
    # As it was called, so that what is printed can be typed where it is not on the PATH.
    command = sys.argv[0] if Path(sys.argv[0]).name == "pgbroker" else "pgbroker"
    lines = (
        "",
        f"pgbroker is ready (PostgreSQL {address.postgres_version}).",
        "",
        f"  URL       {address.url}",
        f"  Username  {address.username}",
        f"  Password  {address.password.reveal()}",
        "",
        "Next, in another terminal:",
        "",
        f"  {command} smoke {url}",
        f"  curl -s -H 'X-Broker-API-Version: 2.17' {url}/v2/catalog",
        "",
        "Ctrl-C stops the broker and its PostgreSQL.",
        "",
    )
    for line in lines:
        out.print(line, highlight=False, markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
