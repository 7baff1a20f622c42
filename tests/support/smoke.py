"""Running ``pgbroker smoke``, and what its result says."""

from __future__ import annotations

import json
from typing import Any

from tests.support.application import state_rows
from tests.support.process import PASSWORD, BrokerProcess, run_program

WHOLE_LIFE = [
    "catalog",
    "provision",
    "fetch the instance",
    "bind",
    "fetch the binding",
    "connect",
    "create a table",
    "write and read a row",
    "rotate",
    "old and new login work",
    "unbind the predecessor",
    "its login is refused",
    "the new login still works",
    "bind for reading only",
    "reading works, writing is refused",
    "unbind the reader",
    "its login is refused",
    "unbind",
    "its login is refused",
    "unbind again",
    "deprovision",
    "the database is gone",
    "deprovision again",
    "the instance is not found",
]


def smoke(broker: BrokerProcess, *options: str) -> tuple[int, dict[str, Any]]:
    """Run it for programs; return its exit status and its document."""
    done = run_program("smoke", broker.url_with_credentials, "--json", *options)
    assert not done.stderr
    assert PASSWORD not in done.stdout
    return done.returncode, json.loads(done.stdout)


def outcomes(document: dict[str, Any], outcome: str) -> list[str]:
    """Return the names of the steps that ended so."""
    return [step["name"] for step in document["steps"] if step["outcome"] == outcome]


def failure(document: dict[str, Any]) -> tuple[str, str]:
    """Return the name and the reason of the one step that failed."""
    ((name, detail),) = [
        (step["name"], step["detail"]) for step in document["steps"] if step["outcome"] == "failed"
    ]
    return name, detail


def nothing_left(state_dsn: str) -> bool:
    """Tell whether a broker has no instances and no bindings any more."""
    rows = state_rows(state_dsn)
    return not rows["instances"] and not rows["bindings"]
