"""``pgbroker keys``."""

import json as json_format
from typing import Annotated

import typer

from broker.cli.terminal import out, read_settings, run, say, show

app = typer.Typer(help="The encryption keys: what needs them, and a new one.", no_args_is_help=True)


@app.command("list")
def keys_list(
    *, json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False
) -> None:
    """Show every key by its id, and how much needs it; never a key itself."""
    from broker.bootstrap import keys

    rows = run(keys.listed(read_settings()))
    if json:
        out.print_json(json_format.dumps(rows))
    else:
        show(keys.table_of(rows))


@app.command("rotate")
def keys_rotate() -> None:
    """Encrypt all secrets and make all tags with the first key; run it again if interrupted."""
    from broker.bootstrap import keys

    settings = read_settings()
    left = run(keys.rotated(settings, say))
    first = settings.encryption_keys[0].id
    if left:
        say(
            f"{left} could not be moved to the key {first} now: see above. "
            "Keep the old keys, and run this again."
        )
        raise typer.Exit(1)
    say(f"Everything uses the key {first}; the others can be removed from the configuration.")
