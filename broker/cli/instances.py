"""``pgbroker instances``."""

import json
from typing import Annotated
from uuid import UUID

import typer

from broker.cli.terminal import read_settings, run, say, show

app = typer.Typer(help="Service instances, beside what platforms do.", no_args_is_help=True)


def _deletion(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is not the id of a deletion; those are in the first column of: "
            "pgbroker instances deleted"
        ) from None


_Deletion = Annotated[
    UUID,
    typer.Argument(
        metavar="ID",
        help="The id that `pgbroker instances deleted` shows.",
        show_default=False,
        parser=_deletion,
    ),
]
_AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


@app.command("list")
def list_instances(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Of a database or a role, as PostgreSQL's log has it: only the instance it is of.",
            show_default=False,
        ),
    ] = None,
    *,
    as_json: _AsJson = False,
) -> None:
    """List the instances: whose they are, and where."""
    from broker.bootstrap import instances

    settings = read_settings(log_level="error")
    found = run(instances.found_instances(settings, name))
    if as_json:
        documents = [instances.instance_document(*one, settings.catalog) for one in found]
        typer.echo(json.dumps(documents, indent=2))
    elif found:
        show(instances.instances_table(found, settings.catalog))
    elif name is None:
        say("There are no instances.")
    else:
        say(f"No instance has a database or role {name}; see `pgbroker instances deleted`, too.")
    if name is not None and not found:
        raise typer.Exit(1)


@app.command("deleted")
def deleted(*, as_json: _AsJson = False) -> None:
    """List the deleted instances whose data is kept, and until when."""
    from broker.bootstrap import instances

    settings = read_settings(log_level="error")
    found = run(instances.deleted_instances(settings))
    if as_json:
        documents = [instances.deleted_document(one, settings.catalog) for one in found]
        typer.echo(json.dumps(documents, indent=2))
    elif found:
        show(instances.deleted_table(found, settings.catalog))
    else:
        say("Nothing is kept.")


@app.command("undelete")
def undelete(deletion: _Deletion, *, as_json: _AsJson = False) -> None:
    """Put a deleted instance back under its former id, with its data and without its bindings.

    The platform is not told. Where its user can create a new instance, the parameter
    restore_from_instance serves them better.
    """
    from broker.bootstrap import instances

    settings = read_settings(log_level="error")
    found, done = run(instances.undelete_instance(settings, deletion))
    key = found.instance.key
    if as_json:
        document = {"platform": key.platform, "instance_id": key.instance_id, "done": done}
        typer.echo(json.dumps(document, indent=2))
        return
    back = "is back" if done else "will be back in a while; the broker goes on with it"
    say(f"The instance {key.instance_id} of the platform {key.platform} {back}.")
    say("Its bindings are not: their credentials were revoked for good, so it has to be bound.")
    say(
        f"The platform {key.platform} still believes that it is deleted: it neither shows nor "
        "binds nor deletes it. Create it there again with this id and the same service, plan, "
        "parameters and place; the broker then answers that it is there. A platform that lets "
        "nobody choose ids cannot get it back this way: delete it here with "
        "DELETE /v2/service_instances/:instance_id, and create a new one there with the parameter "
        f"restore_from_instance={key.instance_id}."
    )


@app.command("purge")
def purge(
    deletions: Annotated[
        list[UUID],
        typer.Argument(
            metavar="ID...",
            help="The ids that `pgbroker instances deleted` shows.",
            show_default=False,
            parser=_deletion,
        ),
    ],
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: _AsJson = False,
) -> None:
    """Drop the data of deleted instances for good, before their time."""
    from broker.bootstrap import instances

    settings = read_settings(log_level="error")
    if not yes:
        kept = run(instances.deleted_instances(settings))
        chosen = [one for one in kept if one.id in deletions]
        if chosen:
            show(instances.deleted_table(chosen, settings.catalog))
        typer.confirm(
            f"Drop the data of {len(deletions)} deleted instance(s) for good?", abort=True
        )
    purged: list[str] = []
    try:
        for deletion in deletions:
            found = run(instances.purge_instance(settings, deletion))
            purged.append(str(found.id))
            if not as_json:
                key = found.instance.key
                say(f"The data of the instance {key.instance_id} of {key.platform} is gone.")
    finally:
        # Also when one could not be dropped: what is gone is gone.
        if as_json:
            typer.echo(json.dumps({"purged": purged}, indent=2))
