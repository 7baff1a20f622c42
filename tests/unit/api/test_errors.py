"""From domain errors to HTTP."""

from __future__ import annotations

import json
from typing import Any

import pytest

from broker.api.errors import STATUS, error_response, plain_error
from broker.domain import errors

EXPECTED: dict[type[errors.BrokerError], tuple[int, str | None]] = {
    errors.BrokerError: (500, None),
    errors.InvalidRequest: (400, None),
    errors.UnsupportedAPIVersion: (412, None),
    errors.Unauthorized: (401, None),
    errors.NotFound: (404, None),
    errors.Gone: (410, None),
    errors.Conflict: (409, None),
    errors.Unprocessable: (422, None),
    errors.AsyncRequired: (422, "AsyncRequired"),
    errors.ConcurrencyError: (422, "ConcurrencyError"),
    errors.MaintenanceInfoConflict: (422, "MaintenanceInfoConflict"),
    errors.UpdateRefused: (422, None),
    errors.TemporaryFailure: (503, None),
    errors.StateUnavailable: (503, None),
    errors.ServerUnavailable: (503, None),
    errors.ServerAway: (503, None),
    errors.OutcomeUnknown: (503, None),
    errors.PoolExhausted: (503, None),
    errors.PermanentFailure: (500, None),
}


def _all(kind: type[errors.BrokerError]) -> set[type[errors.BrokerError]]:
    return {kind}.union(*(_all(child) for child in kind.__subclasses__()))


def _body(error: errors.BrokerError) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(bytes(error_response(error).body))
    return body


def test_every_error_of_the_domain_is_known_here() -> None:
    """A new class of errors has to be given a place in this table, and in the API's."""
    ours = {kind for kind in _all(errors.BrokerError) if kind.__module__ == errors.__name__}
    assert ours == set(EXPECTED)
    assert set(STATUS) <= ours


@pytest.mark.parametrize("kind", EXPECTED)
def test_each_error_has_its_status_and_code(kind: type[errors.BrokerError]) -> None:
    """Status and error code are the specification's; the description is never empty."""
    status, code = EXPECTED[kind]
    assert error_response(kind()).status_code == status
    body = _body(kind())
    assert body.pop("description").strip()
    assert body == ({} if code is None else {"error": code})
    assert _body(kind("for the reader"))["description"] == "for the reader"


def test_an_error_defined_elsewhere_has_the_status_of_its_parent() -> None:
    """Other layers may refine the domain's errors without the API knowing."""

    class KeyMissing(errors.PermanentFailure):
        """A key is missing."""

    assert error_response(KeyMissing()).status_code == 500
    assert _body(KeyMissing()) == {"description": "A key is missing."}


def test_the_fields_of_a_failed_update_are_sent_when_they_are_known() -> None:
    """``False`` is a value; ``None`` is left out."""
    refused = errors.UpdateRefused("no", instance_usable=True, update_repeatable=False)
    assert _body(refused) == {
        "description": "no",
        "instance_usable": True,
        "update_repeatable": False,
    }


def test_clients_are_told_how_to_go_on() -> None:
    """401 says how to authenticate, 503 when to come back; the others say nothing extra."""
    assert error_response(errors.Unauthorized()).headers["WWW-Authenticate"].startswith("Basic ")
    assert int(error_response(errors.ServerUnavailable()).headers["Retry-After"]) > 0
    plain = error_response(errors.Conflict()).headers
    assert "WWW-Authenticate" not in plain
    assert "Retry-After" not in plain


def test_errors_of_http_itself_look_the_same() -> None:
    """Body and headers are as in every other refusal."""
    response = plain_error(405, "no", {"Allow": "GET"})
    assert (response.status_code, response.headers["Allow"]) == (405, "GET")
    assert json.loads(bytes(response.body)) == {"description": "no"}
