"""What the log says about requests."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from tests.support.platform import new_id

if TYPE_CHECKING:
    from tests.support.process import BrokerProcess

IDENTITY = "X-Broker-API-Request-Identity"


async def _lines(broker: BrokerProcess, request: str, count: int) -> list[dict[str, Any]]:
    """Return the log lines of a request; they are written just after the answer."""
    async with asyncio.timeout(20):
        while True:
            text = await asyncio.to_thread(broker.log_text)
            complete = text[: text.rfind("\n") + 1].splitlines()
            lines = [line for line in map(json.loads, complete) if line.get("request") == request]
            if len(lines) >= count:
                return lines


async def test_a_request_is_found_by_its_identity(broker_process: BrokerProcess) -> None:
    """The platform's identity of a request leads to its line and to that of its operation."""
    services = broker_process.client.get("/v2/catalog").json()["services"]
    body = {"service_id": services[0]["id"], "plan_id": services[0]["plans"][0]["id"]}
    location = f"/v2/service_instances/{new_id()}"
    made = broker_process.client.put(location, json=body, headers={IDENTITY: "request-42"})
    assert made.status_code == 201
    operation, request = await _lines(broker_process, "request-42", 2)
    assert operation["event"] == "operation succeeded"
    assert operation["kind"] == "provision"
    assert (request["method"], request["path"], request["status"]) == ("PUT", location, 201)
    assert request["platform"] == operation["platform"]
    assert request["milliseconds"] > 0


async def test_a_refused_request_is_logged_without_its_query(broker_process: BrokerProcess) -> None:
    """Refusals are found as well, with what the client was told and who that is.

    What a client put into the query or the headers stays out.
    """
    for password in (broker_process.password, "canary"):
        broker_process.client.get(
            "/v2/nothing?password=canary",
            headers={IDENTITY: "request-43"},
            auth=(broker_process.username, password),
        )
    lines = await _lines(broker_process, "request-43", 2)
    assert [line["status"] for line in lines] == [404, 401]
    assert [line["client"] for line in lines] == ["127.0.0.1"] * 2
    assert "no such path" in lines[0]["reason"]
    assert "user name or password" in lines[1]["reason"]
    assert "canary" not in broker_process.log_text()


async def test_a_path_cannot_forge_a_line(broker_process: BrokerProcess) -> None:
    """Line ends and terminal sequences in a path are logged as they were sent: encoded."""
    headers = {IDENTITY: "request-44"}
    broker_process.client.get("/v2/%0A%7B%22forged%22%3A1%7D%1B%5B31m", headers=headers)
    (line,) = await _lines(broker_process, "request-44", 1)
    assert line["path"] == "/v2/%0A%7B%22forged%22%3A1%7D%1B%5B31m"
