"""``pgbroker catalog``."""

from pathlib import Path
from typing import Annotated

import typer

from broker.cli.terminal import out

app = typer.Typer(help="The catalog file.", no_args_is_help=True)


@app.command("check")
def catalog_check(
    file: Annotated[Path, typer.Argument(help="A catalog file.", show_default=False)],
) -> None:
    """Check a catalog file; show what it offers, or everything that is wrong with it."""
    from broker.config.report import check_catalog

    if not check_catalog(file, out):
        raise typer.Exit(1)
