"""The command ``pgbroker``: parsing arguments and printing; everything else is elsewhere.

One module for each group of commands. What a command needs is imported when it runs, so that
``pgbroker --help`` is quick.
"""

from typing import Annotated

import typer

from broker import __version__
from broker.cli import (
    catalog,
    instances,
    keys,
    reconcile,
    servers,
    serving,
    smoking,
    state,
    storage,
    warm,
)
from broker.cli.terminal import out

app = typer.Typer(
    name="pgbroker",
    help="An Open Service Broker for PostgreSQL.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(serving.dev)
app.command()(serving.serve)
app.command()(state.migrate)
app.command()(smoking.smoke)
app.command()(reconcile.reconcile)
app.command()(reconcile.recover)
app.add_typer(catalog.app, name="catalog")
app.add_typer(instances.app, name="instances")
app.add_typer(keys.app, name="keys")
app.add_typer(servers.app, name="servers")
app.add_typer(storage.app, name="storage")
app.add_typer(warm.app, name="warm")


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
