"""``pgbroker migrate``."""

import os

from broker.cli.terminal import explained, out, run


def migrate() -> None:
    """Bring the state database to the schema of this version; safe to run at any time."""
    from broker.config import load_settings
    from broker.store.migrate import migrate as bring_up_to_date

    with explained():
        settings = load_settings(os.environ)
    applied = run(bring_up_to_date(settings.state_dsn.reveal()))
    for revision in applied:
        out.print(f"applied {revision}", highlight=False)
    out.print("The state database is up to date.")
