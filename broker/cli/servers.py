"""``pgbroker servers``."""

from pathlib import Path
from typing import Annotated

import typer

from broker.cli.terminal import explained, out, run

app = typer.Typer(help="The servers that hold tenant databases.", no_args_is_help=True)


@app.command("check")
def servers_check(
    file: Annotated[Path, typer.Argument(envvar="PGBROKER_SERVERS_FILE", help="A servers file.")],
) -> None:
    """Look at every server as the broker's own role, and say what is missing on it."""
    from broker.bootstrap.servers import check_all, findings_table  # noqa: PLC0415
    from broker.config import load_servers  # noqa: PLC0415

    with explained():
        reports = run(check_all(load_servers(file)))
    out.print(findings_table(reports))
    if any(report.unfit for report in reports):
        raise typer.Exit(1)


@app.command("prepare")
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

    with explained():
        superuser_dsn = superuser_dsn_file.read().strip()
        run(prepare_server(load_servers(file), name, superuser_dsn=superuser_dsn))
    out.print(f"The server {name} is prepared; now run: pgbroker servers check", highlight=False)
