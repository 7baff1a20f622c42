"""``pgbroker warm``."""

import json
from typing import Annotated

import typer

from broker.cli.terminal import err, out, read_settings, run, show

app = typer.Typer(help="Databases made before anybody asked for them.", no_args_is_help=True)


@app.command("list")
def warm_list(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for a program.")] = False,
) -> None:
    """Show how many databases each plan keeps ready on each server."""
    from broker.bootstrap.warm import shelves, shelves_data, shelves_table

    found = run(shelves(read_settings()))
    if as_json:
        out.print_json(json.dumps(shelves_data(found)))
    elif found:
        show(shelves_table(found))
    else:
        out.print("No plan of the catalog keeps databases ready (its field `warm`).")


@app.command("release")
def warm_release(
    server: Annotated[str | None, typer.Option(help="Only on this server.")] = None,
    *,
    unknown: Annotated[
        bool,
        typer.Option(
            "--unknown",
            help="Instead, those that no record knows and nobody has used: what is left of a "
            "stock after the state database was lost.",
        ),
    ] = False,
) -> None:
    """Drop the databases that are ready; a broker that serves makes those the catalog wants anew.

    To have none any more, take `warm` out of the catalog: what is left is dropped by itself.
    """
    from broker.bootstrap.warm import release

    if unknown:
        _release_unknown(server)
        return
    gone, left = run(release(read_settings(), server=server))
    out.print(f"Dropped: {gone}.", highlight=False)
    if left:
        out.print(f"Could not be dropped yet, and will be by a broker that serves: {left}.")
        raise typer.Exit(1)


def _release_unknown(server: str | None) -> None:
    from broker.bootstrap.warm import release_unknown

    report = run(release_unknown(read_settings(), server=server))
    out.print(f"Dropped: {len(report.dropped)}.", highlight=False)
    for name, reason in (report.left | report.failures).items():
        err.print(f"{name}: {reason}", style="red", soft_wrap=True)
    if report.left or report.failures:
        raise typer.Exit(1)
