"""``pgbroker migrate``."""

from broker.cli.terminal import out, read_settings, run


def migrate() -> None:
    """Bring the state database to the schema of this version; safe to run at any time."""
    from broker.store.migrate import migrate as bring_up_to_date

    applied = run(bring_up_to_date(read_settings().state_dsn.reveal()))
    for revision in applied:
        out.print(f"applied {revision}", highlight=False)
    out.print("The state database is up to date.")
