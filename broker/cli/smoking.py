"""``pgbroker smoke``."""

import os
from pathlib import Path
from typing import Annotated

import typer

from broker.cli.terminal import err, out


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
    from broker.smoke import TargetUnusable, Wishes, find_target
    from broker.smoke import smoke as run_smoke

    try:
        target = find_target(url, os.environ, ca_file=ca_file, insecure=insecure)
    except TargetUnusable as exc:
        err.print(str(exc), style="red", highlight=False, soft_wrap=True)
        raise typer.Exit(2) from exc
    wishes = Wishes(service=service, plan=plan, timeout=timeout, as_json=json)
    raise typer.Exit(run_smoke(target, wishes, out))
