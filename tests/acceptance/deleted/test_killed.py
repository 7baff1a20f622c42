"""``kill -9`` while a database is put aside or back, and deletions of what is being restored."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from broker.config import load_settings
from broker.domain.instance import InstanceKey
from broker.store import KeyRing, PostgresStore
from tests.acceptance.deleted.catalog import CATALOG
from tests.acceptance.deleted.kept import deleted_with_data, with_data, word_of
from tests.support.application import cloned_database
from tests.support.faults_failpoints import Action, Boundary, Failpoint, Failpoints
from tests.support.faults_replica import Replica, replica_environment
from tests.support.faults_waiting import until
from tests.support.platform import Platform, new_id
from tests.support.process import PASSWORD, USERNAME

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from tests.support.postgres import PostgresServer

KEEPING, RESTORING = (
    [Boundary.RECORDING, Boundary.RECORDED, *steps, Boundary.FINISHING, Boundary.FINISHED]
    for steps in (["adopt_database", "retain_database"], ["restore_database", "reopen_database"])
)
"""The boundaries of a deletion that keeps, and of a provision that restores."""

SETTLED = {httpx.codes.OK, httpx.codes.CREATED, httpx.codes.GONE}


@dataclass(slots=True)
class Pair:
    """A replica that dies, and one that goes on.

    Attributes:
        failing: Has failpoints.
        survivor: Runs all the time.
        failpoints: Of the first.
        store: Their state.
    """

    failing: Replica
    survivor: Replica
    failpoints: Failpoints
    store: PostgresStore = field(repr=False)

    def platform(self, replica: Replica | None = None) -> Platform:
        """Return the platform, asking the survivor unless told otherwise."""
        place = {"platform": "kubernetes", "clusterid": "c1", "namespace": "default"}
        return Platform((replica or self.survivor).url, (USERNAME, PASSWORD), context=place)

    async def killed(self, kind: str, boundary: str, send: Callable[[Platform], Any]) -> None:
        """Have the failing replica die at a boundary of a request."""
        await self.failing.start()
        self.failpoints.arm(Failpoint(kind, boundary, Action.KILL))
        with self.platform(self.failing) as platform, pytest.raises(httpx.TransportError):
            send(platform)
        assert self.failing.reap() == -signal.SIGKILL

    async def settled(self, send: Callable[[Platform], httpx.Response]) -> httpx.Response:
        """Send a request to the survivor until it is answered for good."""
        answers: list[httpx.Response] = []

        def answered() -> bool:
            answers.append(send(platform))
            return answers[-1].status_code in SETTLED

        with self.platform() as platform:
            await until(answered, what="it is answered for good")
        return answers[-1]


@contextmanager
def _prepared(
    postgres: PostgresServer, template: str, directory: Path
) -> Iterator[tuple[dict[str, str], Path]]:
    with cloned_database(postgres, template) as state_dsn:
        environ = replica_environment(postgres, state_dsn, directory)
        (directory / "catalog.yaml").write_text(CATALOG, "utf-8")
        failpoints = directory / "failpoints"
        failpoints.mkdir()
        yield environ, failpoints


@pytest.fixture(scope="session")
def replicas(
    postgres: PostgresServer, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Replica, Replica, Failpoints]]:
    """Return the worker's two replicas; not started."""
    directory = tmp_path_factory.mktemp("pair")
    with _prepared(postgres, migrated_template, directory) as (environ, failpoints):
        failing = Replica("failing", environ, directory / "failing.log", failpoints=failpoints)
        survivor = Replica("survivor", environ, directory / "survivor.log")
        yield failing, survivor, Failpoints(failpoints)
        failing.kill()
        survivor.kill()


@pytest.fixture
async def pair(replicas: tuple[Replica, Replica, Failpoints]) -> AsyncIterator[Pair]:
    """Return both, the survivor running."""
    failing, survivor, failpoints = replicas
    await survivor.start()
    settings = load_settings(survivor.environ)
    keys = KeyRing([(key.id, key.key) for key in settings.encryption_keys])
    store = PostgresStore(settings.state_dsn.reveal(), keys)
    yield Pair(failing, survivor, failpoints, store)
    failpoints.disarm()
    await store.close()


def _restore(source: str, into: str) -> Callable[[Platform], httpx.Response]:
    parameters = {"restore_from_instance": source}
    return lambda platform: platform.provision(into, parameters=parameters)


@pytest.mark.parametrize("boundary", KEEPING)
async def test_a_deletion_is_finished_by_the_same_request(pair: Pair, boundary: str) -> None:
    """Wherever the process dies, the data is kept once, and can be had back."""
    with pair.platform() as platform:
        source, credentials = with_data(platform, "kept")
    await pair.killed("deprovision", boundary, lambda platform: platform.deprovision(source))
    await pair.settled(lambda platform: platform.deprovision(source))
    kept = [
        deleted
        for deleted in await pair.store.deleted.listed()
        if deleted.instance.database == credentials["database"]
    ]
    assert [deleted.stage for deleted in kept] == ["retained"]
    instance = new_id()
    await pair.settled(_restore(source, instance))
    with pair.platform() as platform:
        assert word_of(platform.credentials(instance, new_id())) == "kept"


@pytest.mark.parametrize("boundary", RESTORING)
async def test_a_restore_is_finished_by_the_same_request(pair: Pair, boundary: str) -> None:
    """Wherever the process dies, the new instance has the data, and nothing is kept any more."""
    with pair.platform() as platform:
        source, credentials = deleted_with_data(platform, "restored")
    instance = new_id()
    await pair.killed("provision", boundary, _restore(source, instance))
    answer = await pair.settled(_restore(source, instance))
    assert answer.status_code in {200, 201}
    with pair.platform() as platform:
        assert word_of(platform.credentials(instance, new_id())) == "restored"
    for deleted in await pair.store.deleted.listed():
        assert deleted.instance.database != credentials["database"]


@pytest.mark.parametrize("boundary", RESTORING)
async def test_a_deletion_during_a_restore_loses_nothing(pair: Pair, boundary: str) -> None:
    """The data is kept as before, under the former id unless the restore had been finished."""
    with pair.platform() as platform:
        source, _ = deleted_with_data(platform, "halted")
    instance = new_id()
    before = await pair.store.deleted.retained(InstanceKey("default", source))
    await pair.killed("provision", boundary, _restore(source, instance))
    await pair.settled(lambda platform: platform.deprovision(instance))
    assert await pair.store.instance(InstanceKey("default", instance)) is None
    if boundary == Boundary.FINISHED:
        source = instance
    else:
        assert await pair.store.deleted.retained(InstanceKey("default", source)) == before
    again = new_id()
    await pair.settled(_restore(source, again))
    with pair.platform() as platform:
        assert word_of(platform.credentials(again, new_id())) == "halted"
