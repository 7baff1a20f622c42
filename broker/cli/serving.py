"""``pgbroker dev`` and ``pgbroker serve``."""

import asyncio
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from broker.cli.terminal import err, explained, out, run

if TYPE_CHECKING:
    from broker.bootstrap.development import Address


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
    from broker.bootstrap import development
    from broker.bootstrap.logs import configure_logging
    from broker.embedded import default_data_directory

    configure_logging(log_format="console", level="info")
    directory = data_dir or default_data_directory()
    err.print(f"Data directory: {directory}", highlight=False, soft_wrap=True)
    run(
        development.run(
            data_directory=directory,
            postgres_bin=postgres_bin,
            host=host,
            port=port,
            environ=os.environ,
            started=_welcome,
        ),
        # PostgreSQL may have to run as another user, which uvloop's subprocesses cannot.
        loop=asyncio.run,
    )
    err.print("Stopped. The data is kept; start again to find it.")


def serve() -> None:
    """Run a broker; everything it needs comes from PGBROKER_* variables and the files they name."""
    from broker.bootstrap import production
    from broker.bootstrap.logs import configure_logging
    from broker.config import load_settings

    with explained():
        settings = load_settings(os.environ)
    configure_logging(log_format=settings.log_format, level=settings.log_level)
    run(production.run(settings))


def _welcome(address: "Address") -> None:
    password = address.password.reveal()
    login = f"{quote(address.username, safe='')}:{quote(password, safe='')}"
    url = address.url.replace("http://", f"http://{login}@")
    # As it was called, so that what is printed can be typed where it is not on the PATH.
    command = shlex.quote(sys.argv[0]) if Path(sys.argv[0]).name == "pgbroker" else "pgbroker"
    lines = (
        "",
        f"pgbroker is ready (PostgreSQL {address.postgres_version}).",
        "",
        f"  URL       {address.url}",
        f"  Username  {address.username}",
        f"  Password  {password}",
        "",
        "Next, in another terminal:",
        "",
        f"  {command} smoke {shlex.quote(url)}",
        f"  curl -s -H 'X-Broker-API-Version: 2.17' {shlex.quote(f'{url}/v2/catalog')}",
        "",
        "Ctrl-C stops the broker and its PostgreSQL.",
        "",
    )
    for line in lines:
        out.print(line, highlight=False, soft_wrap=True)
