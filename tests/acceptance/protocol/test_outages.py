"""A server that is down, and a state database that is down."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from broker.bootstrap import assembly
from broker.store import migrate
from tests.integration.postgres.servers import OwnServer
from tests.support.application import (
    KUBERNETES,
    Observer,
    running_application,
    settings_for,
)
from tests.support.catalog import ELSEWHERE
from tests.support.platform import Platform, new_id
from tests.support.postgres import embedded_postgres

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    import httpx

    from tests.support.postgres import PostgresServer


@pytest.fixture
async def own_server(servers: Path) -> AsyncIterator[OwnServer]:
    """Return a server that the test may stop and start."""
    async with embedded_postgres(servers / "own") as embedded:
        yield await OwnServer.prepare(embedded)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up on a server sooner than in production."""
    monkeypatch.setattr(assembly, "RETRY_STEPS_FOR", timedelta(seconds=0.5))


def _all(*requests: Callable[[], httpx.Response]) -> list[httpx.Response]:
    with ThreadPoolExecutor(len(requests)) as pool:
        return list(pool.map(lambda request: request(), requests))


def _unavailable(*answers: httpx.Response) -> None:
    for answer in answers:
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0
        assert answer.json()["description"]


async def test_a_server_that_is_down(
    postgres: PostgresServer, state_dsn: str, tmp_path: Path, own_server: OwnServer
) -> None:
    """Changes on it are 503, everything else goes on; once it is back, all can be made good."""
    settings = settings_for(postgres, state_dsn, tmp_path, other_dsn=own_server.dsn)
    with running_application(settings) as broker, Platform(broker.url, KUBERNETES) as platform:
        first, second, third = (platform.provisioned(ELSEWHERE) for _ in range(3))
        old, new, failed, orphan = new_id(), new_id(), new_id(), new_id()
        before = platform.bind(first, old, ELSEWHERE)

        await own_server.embedded.stop()
        _unavailable(
            *_all(
                lambda: platform.provision(failed, ELSEWHERE),
                lambda: platform.provision(orphan, ELSEWHERE),
                lambda: platform.bind(first, new, ELSEWHERE),
                lambda: platform.unbind(first, old, ELSEWHERE),
                lambda: platform.update(second, parameters={"extensions": ["citext"]}),
                lambda: platform.deprovision(third, ELSEWHERE),
            )
        )
        polled = platform.poll(failed).json()
        assert polled["state"] == "failed"
        assert platform.fetch(failed).status_code == 404
        assert platform.bind(failed, new_id(), ELSEWHERE).status_code == 422
        assert platform.provision(third, ELSEWHERE).json()["error"] == "ConcurrencyError"
        assert platform.fetch(second).json()["parameters"] == {}
        assert platform.provision(new_id()).status_code == 201
        assert platform.http.get("/readyz").status_code == 200

        await own_server.embedded.start()
        assert platform.provision(failed, ELSEWHERE).status_code == 201
        assert platform.bind(first, new, ELSEWHERE).status_code == 201
        assert platform.unbind(first, old, ELSEWHERE).status_code == 200
        assert platform.fetch(first, old).status_code == 404
        assert before.json() != platform.fetch(first, new).json()
        changed = platform.update(second, parameters={"extensions": ["citext"]})
        assert changed.status_code == 200
        for instance in (first, second, third, failed, orphan):
            assert platform.deprovision(instance, ELSEWHERE).status_code == 200
            assert platform.deprovision(instance, ELSEWHERE).status_code == 410


async def test_a_state_database_that_is_down(
    postgres: PostgresServer, tmp_path: Path, own_server: OwnServer
) -> None:
    """Every request is 503, ``/readyz`` says so, and nothing happens on any server."""
    await migrate(own_server.dsn)
    settings = settings_for(postgres, own_server.dsn, tmp_path)
    with (
        running_application(settings) as broker,
        Platform(broker.url, KUBERNETES) as platform,
        Observer(broker, postgres) as observer,
    ):
        instance, binding, _ = platform.bound()
        assert platform.http.get("/readyz").status_code == 200
        before = observer.look()

        await own_server.embedded.stop()
        _unavailable(
            platform.provision(new_id()),
            platform.update(instance, parameters={"extensions": ["hstore"]}),
            platform.bind(instance, new_id()),
            platform.unbind(instance, binding),
            platform.deprovision(instance),
            platform.fetch(instance),
            platform.fetch(instance, binding),
            platform.poll(instance),
        )
        assert platform.http.get("/readyz").status_code == 503
        assert platform.http.get("/healthz").status_code == 200
        for path, status in (("/readyz", 503), ("/healthz", 200)):
            asked = platform.http.head(path)
            assert (asked.status_code, asked.content) == (status, b"")
        assert platform.http.get("/v2/catalog").status_code == 200

        await own_server.embedded.start()
        assert observer.look() == before
        assert platform.http.get("/readyz").status_code == 200
        assert platform.deprovision(instance).status_code == 200
