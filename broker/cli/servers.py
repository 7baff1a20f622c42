"""``pgbroker servers``."""

import json
from pathlib import Path
from typing import Annotated

import typer

from broker.cli.terminal import explained, log_beside, out, read_settings, run, say, show

app = typer.Typer(help="The servers that hold tenant databases.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="A server of the servers file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for a program.")]


@app.command("list")
def servers_list(as_json: AsJson = False) -> None:
    """Show what every server holds and may hold, and whether it answers."""
    from broker.bootstrap.capacity import survey
    from broker.cli.server_tables import survey_data, survey_table

    surveys = run(survey(read_settings(log_level="error")))
    if as_json:
        out.print_json(json.dumps(survey_data(surveys)))
    else:
        show(survey_table(surveys))


@app.command("cordon")
def servers_cordon(
    name: Name,
    reason: Annotated[str | None, typer.Option(help="For your colleagues.")] = None,
) -> None:
    """Let a server get no new databases; what is on it stays and can be used, bound and updated."""
    from broker.bootstrap.capacity import cordon

    run(cordon(read_settings(), name, reason))
    say(f"The server {name} gets no new databases.")


@app.command("uncordon")
def servers_uncordon(name: Name) -> None:
    """Let a server get new databases again."""
    from broker.bootstrap.capacity import uncordon

    again = "again" if run(uncordon(read_settings(), name)) else "as before: it was not cordoned"
    say(f"The server {name} gets new databases {again}.")


@app.command("drain-plan")
def servers_drain_plan(name: Name, as_json: AsJson = False) -> None:
    """Show where everything on a server could go, and whether it fits; nothing is moved."""
    from broker.bootstrap.capacity import plan_drain
    from broker.cli.server_tables import drain_data, drain_summary, drain_table

    drain = run(plan_drain(read_settings(), name))
    if as_json:
        out.print_json(json.dumps(drain_data(drain)))
    else:
        if drain.moves:
            show(drain_table(drain))
        say(drain_summary(drain))
    if not drain.fits:
        raise typer.Exit(1)


@app.command("rotate-admin")
def servers_rotate_admin(
    name: Name,
    dsn_file: Annotated[
        Path | None,
        typer.Option(
            "--write-dsn", help="Write the new connection string here, for its owner's eyes only."
        ),
    ] = None,
) -> None:
    """Give the broker's own role a new password; every running replica finds it by itself."""
    from broker.bootstrap.admin_rotation import rotate

    run(rotate(read_settings(), name, dsn_file=dsn_file))
    say(f"The broker's role on {name} has a new password.")
    if dsn_file is None:
        say("The servers file still has the first one: see docs/operations.md.")


@app.command("check")
def servers_check(
    file: Annotated[
        Path | None, typer.Argument(envvar="PGBROKER_SERVERS_FILE", help="A servers file.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Look at every server as the broker's own role, and say what is missing on it."""
    from broker.bootstrap.servers import check_all, findings_data, findings_table
    from broker.config import load_servers

    if file is None:
        raise typer.BadParameter("name a servers file, or set PGBROKER_SERVERS_FILE")
    log_beside("error")
    with explained():
        reports = run(check_all(load_servers(file)))
    if as_json:
        out.print_json(json.dumps(findings_data(reports)))
    else:
        show(findings_table(reports))
    if any(report.unfit for report in reports):
        raise typer.Exit(1)


@app.command("prepare")
def servers_prepare(
    name: Name,
    file: Annotated[
        Path, typer.Option("--file", envvar="PGBROKER_SERVERS_FILE", help="A servers file.")
    ],
    superuser_dsn_file: Annotated[
        Path, typer.Option(help="File with a superuser's connection string for it.")
    ],
) -> None:
    """Make a server fit for tenants, once: the broker's role, its database, closed defaults."""
    from broker.bootstrap.servers import prepare_server, read_dsn
    from broker.config import load_servers

    log_beside("error")
    with explained():
        superuser_dsn = read_dsn(superuser_dsn_file)
        prepared = run(prepare_server(load_servers(file), name, superuser_dsn=superuser_dsn))
    if prepared.role_existed:
        say(
            f"The role {prepared.role} was there already; its password is the one of admin_dsn "
            "now, wherever else it is used."
        )
    say(f"The server {name} is prepared; now run: pgbroker servers check")
