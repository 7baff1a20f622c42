"""``pgbroker reconcile`` and ``pgbroker recover``."""

import json as json_format
from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli.terminal import err, out, read_settings, run, say, show

if TYPE_CHECKING:
    from rich.table import Table

    from broker.service.reconcile import ServerReport
    from broker.service.recover import RecoveryReport


def reconcile(
    *,
    apply: Annotated[
        bool,
        typer.Option("--apply", help="Repair what is safe, and close what no record knows."),
    ] = False,
    force: Annotated[
        bool,
        typer.Option(help="With --apply: close databases even when more are unknown than known."),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Compare the servers with the state, and report what is not as it should be.

    Exits with 1 when something is left that a person has to look after.
    """
    if force and not apply:
        raise typer.BadParameter(
            "says how to --apply, and is nothing without it", param_hint="--force"
        )
    from broker.bootstrap.reconciliation import run_reconcile
    from broker.service.reconcile import Orders

    settings = read_settings(log_level="error")
    reports = run(run_reconcile(settings, Orders(apply=apply, force=force)))
    if json:
        out.print_json(json_format.dumps([_report_document(report) for report in reports]))
    else:
        _print_reports(reports)
    if not all(report.clean for report in reports):
        raise typer.Exit(1)


def recover(
    *,
    from_servers: Annotated[
        bool,
        typer.Option("--from-servers", help="Read what the servers say. There is no other source."),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Rebuild a lost state from the servers: instances and bindings, but no passwords.

    Exits with 1 when something could not be recovered.
    """
    from broker.bootstrap.reconciliation import run_recover

    if not from_servers:
        err.print(
            "Say --from-servers: the state is rebuilt from what the servers say. A backup of the "
            "state database is better; restore it first if there is one, then add what is newer.",
            highlight=False,
            soft_wrap=True,
        )
        raise typer.Exit(2)
    report = run(run_recover(read_settings(log_level="error")))
    if json:
        out.print_json(json_format.dumps(_recovery_document(report)))
    else:
        _print_recovery(report)
    if not report.complete:
        raise typer.Exit(1)


def _report_document(report: "ServerReport") -> dict[str, object]:
    return {
        "server": report.server,
        "checked": report.checked,
        "drift": [
            {
                "kind": drift.deviation.kind.value,
                "treatment": drift.deviation.kind.treatment.value,
                "database": drift.database,
                "subject": drift.deviation.subject,
                "platform": drift.platform,
                "instance_id": drift.instance_id,
                "detail": drift.deviation.detail,
                "resolved": drift.resolved,
            }
            for drift in report.drift
        ],
        "skipped": report.skipped,
        "unreadable_tags": report.unreadable,
        "unknown_plans": report.unknown_plans,
        "failure": report.failure,
    }


def _print_reports(reports: list["ServerReport"]) -> None:
    from rich.text import Text

    from broker.service.reconcile import BUSY

    table = _table("server", "what", "database or role", "instance", "detail", "")
    for report in reports:
        for drift in report.drift:
            kind = drift.deviation.kind
            done = {"repair": "repaired", "quarantine": "closed"}.get(kind.treatment, "")
            table.add_row(
                report.server,
                kind.value,
                drift.deviation.subject,
                drift.instance_id or "",
                drift.deviation.detail,
                Text(done, "green") if drift.resolved else Text(kind.treatment.value, "yellow"),
            )
    if table.row_count:
        show(table)
    for report in reports:
        skipped, found = len(report.skipped), len(report.drift)
        if report.failure is None or report.checked or found:
            say(
                f"{report.server}: {report.checked} instances compared, {skipped} skipped, "
                f"{found} findings."
            )
        for database, why in report.skipped.items():
            if why != BUSY:
                err.print(f"{report.server}: {database} was skipped. {why}", soft_wrap=True)
        _print_left_out(report.unreadable)
        for plan_id, total in report.unknown_plans.items():
            out.print(
                f"Of no plan: {total} instances have the plan id {plan_id}, which is in no plan of "
                "the catalog. Their limits are not kept, and a deleted database is dropped at "
                "once: give the plan back under this id.",
                highlight=False,
                soft_wrap=True,
            )
        if report.failure is not None:
            err.print(f"{report.server}: {report.failure}", style="red", soft_wrap=True)


def _recovery_document(report: "RecoveryReport") -> dict[str, object]:
    return {
        "found": [
            {
                "server": one.server,
                "subject": one.subject,
                "platform": one.platform,
                "instance_id": one.instance_id,
                "binding_id": one.binding_id,
                "outcome": one.outcome.value,
            }
            for one in report.found
        ],
        "unreadable_tags": dict(report.unreadable),
        "failures": report.failures,
    }


def _print_recovery(report: "RecoveryReport") -> None:
    table = _table("server", "database or login", "platform", "instance", "binding", "")
    for one in report.found:
        table.add_row(
            one.server,
            one.subject,
            one.platform,
            one.instance_id,
            one.binding_id or "",
            one.outcome.value,
        )
    if table.row_count:
        show(table)
    recovered = sum(one.outcome in {"recovered", "kept", "unfinished"} for one in report.found)
    out.print(f"{recovered} of {len(report.found)} instances and bindings recovered.")
    _print_left_out(dict(report.unreadable))
    if report.unreadable and not report.found:
        err.print(
            "Nothing could be read with the keys that are configured. Configure those that were in "
            "use (PGBROKER_ENCRYPTION_KEYS), and run this again before the broker is started.",
            style="red",
            soft_wrap=True,
        )
    for server, failure in report.failures.items():
        err.print(f"{server}: {failure}", style="red", soft_wrap=True)


def _print_left_out(unreadable: dict[str, int]) -> None:
    for key_id, total in unreadable.items():
        out.print(
            f"Left out: {total} databases and roles with tags of the key {key_id!r}, which is not "
            "configured. They are another broker's, or the key is missing.",
            highlight=False,
            soft_wrap=True,
        )


def _table(*columns: str) -> "Table":
    from rich.table import Table

    return Table(*columns, box=None, pad_edge=False)
