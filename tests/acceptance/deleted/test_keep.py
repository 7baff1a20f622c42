"""What a deletion leaves on the server where the plan says so, and what it does not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

from broker.domain.deleted import DeletedInstance, DeletedKey, Stage
from broker.domain.instance import InstanceKey, Status
from broker.domain.names import retained_name
from tests.acceptance.deleted.catalog import FORGETTING
from tests.acceptance.deleted.kept import deleted_with_data, with_data
from tests.support.catalog import SERVICE
from tests.support.platform import can_connect, new_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from broker.store import PostgresStore
    from tests.acceptance.deleted.kept import Server
    from tests.support.application import Footprint
    from tests.support.platform import Platform


async def test_a_deleted_database_is_closed_renamed_and_tagged(
    kubernetes: Platform, server: Server, store: PostgresStore
) -> None:
    """Nobody can connect, no login is left, and name and tags say that it is kept."""
    instance, credentials = with_data(kubernetes, "elephant")
    reader = kubernetes.credentials(instance, new_id(), parameters={"role": "read-only"})
    assert kubernetes.deprovision(instance).status_code == 200
    former = InstanceKey("kubernetes", instance)
    deleted = await store.deleted.retained(former)
    assert deleted is not None
    key = DeletedKey(former, deleted.id)
    name = credentials["database"]
    assert server.databases(name, retained_name(name)) == [retained_name(name)]
    assert server.database(retained_name(name)) == (False, key)
    roles = server.roles(name, f"{name}_owner", credentials["username"], reader["username"])
    assert roles == {name: key, f"{name}_owner": key}
    assert not can_connect(credentials)
    assert not can_connect(
        {**credentials, "uri": credentials["uri"].replace(name, f"{name}_deleted")}
    )


async def test_it_is_kept_for_as_long_as_the_plan_says(
    kubernetes: Platform, store: PostgresStore
) -> None:
    """The record has the time of the deletion, and the plan's time after it."""
    before = datetime.now(UTC)
    instance, _ = deleted_with_data(kubernetes, "clock")
    deleted = await store.deleted.retained(InstanceKey("kubernetes", instance))
    assert deleted is not None
    assert before < deleted.deleted_at < datetime.now(UTC)
    assert deleted.purge_at - deleted.deleted_at == timedelta(days=7)
    assert (deleted.stage, deleted.attached) == (Stage.RETAINED, None)


def test_for_the_platform_it_is_gone(kubernetes: Platform) -> None:
    """A second deletion is 410, and so is polling the first; nothing can be fetched or bound."""
    instance, _ = deleted_with_data(kubernetes, "gone")
    assert kubernetes.deprovision(instance).status_code == 410
    assert kubernetes.poll(instance).status_code == 410
    assert kubernetes.fetch(instance).status_code == 404
    assert kubernetes.bind(instance, new_id()).status_code == 404


def test_its_id_can_be_used_at_once(kubernetes: Platform) -> None:
    """The same id gives a new, empty database, which can be deleted like the first."""
    instance, first = deleted_with_data(kubernetes, "first")
    assert kubernetes.provision(instance).status_code == 201
    second = kubernetes.credentials(instance, new_id())
    assert second["database"] != first["database"]
    assert can_connect(second)
    assert kubernetes.deprovision(instance).status_code == 200


async def test_it_counts_as_a_database_of_its_server(
    kubernetes: Platform, store: PostgresStore
) -> None:
    """Placement sees as many databases after the deletion as before, and one more after a new."""

    async def counted() -> int:
        occupancy = await store.servers.occupancy()
        return sum(placed.databases for placed in occupancy.placed if placed.server == "alpha")

    before = await counted()
    instance, _ = with_data(kubernetes, "counted")
    assert await counted() == before + 1
    assert kubernetes.deprovision(instance).status_code == 200
    assert await counted() == before + 1
    assert kubernetes.provision(instance).status_code == 201
    assert await counted() == before + 2


def test_other_plans_keep_nothing(kubernetes: Platform, kept: Callable[[], Footprint]) -> None:
    """A plan without retention leaves neither database nor role nor record."""
    before = kept().things()
    instance, _, credentials = kubernetes.bound(FORGETTING)
    assert kubernetes.deprovision(instance, FORGETTING).status_code == 200
    assert kept().things() == before
    assert not can_connect(credentials)


async def test_what_was_never_finished_is_not_kept(
    kubernetes: Platform, store: PostgresStore, kept: Callable[[], Footprint]
) -> None:
    """An instance that failed in the making has no data worth keeping."""
    before = kept().things()
    instance = kubernetes.provisioned()
    async with store.transaction() as state:
        await state.set_instance_status(InstanceKey("kubernetes", instance), Status.FAILED)
    assert kubernetes.deprovision(instance).status_code == 200
    assert kept().things() == before


async def test_a_deletion_that_began_without_keeping_ends_so(
    kubernetes: Platform, store: PostgresStore, kept: Callable[[], Footprint]
) -> None:
    """What is half dropped is not kept because the catalog has changed in the meantime."""
    before = kept().things()
    instance = kubernetes.provisioned()
    async with store.transaction() as state:
        await state.set_instance_status(InstanceKey("kubernetes", instance), Status.DELETING)
    assert kubernetes.deprovision(instance).status_code == 200
    assert kept().things() == before


async def test_a_deletion_that_was_to_keep_does_so_when_repeated(
    kubernetes: Platform, store: PostgresStore
) -> None:
    """A failed deletion is repeated under the same id and with the same time."""
    instance, _ = with_data(kubernetes, "again")
    key = InstanceKey("kubernetes", instance)
    stored = await store.instance(key)
    assert stored is not None
    now = datetime.now(UTC)
    recorded = DeletedInstance(
        id=uuid4(),
        instance=stored,
        deleted_at=now,
        purge_at=now + timedelta(days=1),
        stage=Stage.DELETING,
        attached=instance,
    )
    async with store.transaction() as state:
        await state.set_instance_status(key, Status.DELETING)
        await state.deleted.add(recorded)
    assert kubernetes.deprovision(instance).status_code == 200
    found = await store.deleted.retained(key)
    assert found == recorded.moved(Stage.RETAINED)


def test_the_parameter_is_published_where_something_is_kept(kubernetes: Platform) -> None:
    """Every plan of an offering that keeps databases can be made from one, and says so."""
    catalog = kubernetes.http.get("/v2/catalog").raise_for_status().json()
    (plans,) = (service["plans"] for service in catalog["services"] if service["id"] == SERVICE)
    for plan in plans:
        parameters = plan["schemas"]["service_instance"]
        assert "restore_from_instance" in parameters["create"]["parameters"]["properties"]
        assert "restore_from_instance" not in parameters["update"]["parameters"]["properties"]
        assert "deleted_retention" not in plan
    assert len(plans) == 5


async def test_what_is_not_there_is_not_kept(
    kubernetes: Platform, server: Server, store: PostgresStore
) -> None:
    """When somebody has dropped the database, deleting its instance leaves no record either."""
    instance, credentials = with_data(kubernetes, "dropped")
    server.drop(credentials["database"])
    assert kubernetes.deprovision(instance).status_code == 200
    assert await store.deleted.retained(InstanceKey("kubernetes", instance)) is None
    name = credentials["database"]
    assert not server.roles(name, f"{name}_owner", credentials["username"])
    assert kubernetes.provision(instance).status_code == 201
    assert kubernetes.deprovision(instance).status_code == 200
