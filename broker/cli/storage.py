"""``pgbroker storage``."""

import json as json_format
from typing import Annotated, Any

import typer

from broker.cli.terminal import err, out, read_settings, run, show

app = typer.Typer(
    help="What the databases occupy, and the limits of their plans.", no_args_is_help=True
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.command("list")
def storage_list(*, json: Json = False) -> None:
    """Show what every database was last seen to occupy, the fullest first."""
    from broker.bootstrap import storage

    _show(run(storage.listed(read_settings())), as_json=json)


@app.command("check")
def storage_check(*, json: Json = False) -> None:
    """Measure all databases and enforce the limits now, as the broker does every minute.

    Exits with 1 when a server could not be measured.
    """
    from broker.bootstrap import storage

    rows, missed = run(storage.checked(read_settings()))
    _show(rows, as_json=json)
    if missed:
        err.print(f"Not measured: {', '.join(missed)}.", style="red", highlight=False)
        raise typer.Exit(1)


@app.command("allow")
def storage_allow(
    platform: Annotated[str, typer.Argument(help="The platform's configured name.")],
    instance: Annotated[str, typer.Argument(help="The platform's id of the service instance.")],
    hours: Annotated[
        float, typer.Option(help="For how long; 0 takes it back.", min=0, max=24 * 31)
    ] = 1,
) -> None:
    """Let an instance write over its limit for some time, so that its user can clean up."""
    from datetime import timedelta

    from broker.bootstrap import storage

    until = run(
        storage.allowed(read_settings(), platform, instance, duration=timedelta(hours=hours))
    )
    if hours:
        told = f"{instance} may write until {until:%Y-%m-%d %H:%M} UTC, whatever it occupies."
    else:
        told = f"The leave of {instance} to write over its limit is taken back."
    out.print(told, highlight=False)


def _show(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    from broker.bootstrap.storage import table_of

    if as_json:
        out.print_json(json_format.dumps(rows))
    else:
        show(table_of(rows))
