"""A new instance made from a deleted one, with the parameter ``restore_from_instance``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from broker.domain.instance import InstanceKey
from tests.acceptance.deleted.catalog import (
    ELSEWHERE,
    FORGETTING,
    OTHER_PLAN,
    OTHER_SERVICE,
    PLAIN,
    TINY,
)
from tests.acceptance.deleted.kept import deleted_with_data, with_data, word_of
from tests.support.catalog import SERVICE, SMALL
from tests.support.platform import can_connect, new_id, rows

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from broker.store import PostgresStore
    from tests.acceptance.deleted.kept import Server
    from tests.support.application import Footprint
    from tests.support.platform import Platform

PLACE = {"platform": "kubernetes", "clusterid": "c1", "namespace": "team-a"}
SUBACCOUNT = {"platform": "sapcp", "subaccount_id": "a"}
ORGANIZATION = {"organization_guid": "o1", "space_guid": "s1"}


def _restore(
    platform: Platform, source: str, plan: str = SMALL, *, into: str | None = None, **fields: Any
) -> httpx.Response:
    parameters = {"restore_from_instance": source, **fields.pop("parameters", {})}
    return platform.provision(into or new_id(), plan, parameters=parameters, **fields)


def test_the_data_is_back_and_can_be_worked_with(kubernetes: Platform, server: Server) -> None:
    """New credentials read and write what the old ones made; the tags are the new instance's."""
    source, before = deleted_with_data(kubernetes, "phoenix")
    instance = new_id()
    assert _restore(kubernetes, source, into=instance).status_code == 201
    after = kubernetes.credentials(instance, new_id())
    reader = kubernetes.credentials(instance, new_id(), parameters={"role": "read-only"})
    assert word_of(after) == word_of(reader) == "phoenix"
    assert rows(after, "UPDATE words SET word = 'ashes' RETURNING word") == [("ashes",)]
    rows(after, "ALTER TABLE words ADD number integer")
    assert not can_connect(before)
    database, key = after["database"], InstanceKey("kubernetes", instance)
    assert database == before["database"]
    assert server.database(database) == (True, key)
    assert server.roles(database, f"{database}_owner") == dict.fromkeys(
        (database, f"{database}_owner"), key
    )


def test_the_limits_are_those_of_the_new_plan(kubernetes: Platform, server: Server) -> None:
    """Another plan of the offering may take the data over, under its own limits."""
    source, before = deleted_with_data(kubernetes, "limits")
    assert _restore(kubernetes, source, FORGETTING).status_code == 201
    limit = server.connection.execute(
        "SELECT datconnlimit FROM pg_database WHERE datname = %s", [before["database"]]
    ).fetchone()
    assert limit == (9,)


def test_extensions_stay_and_new_ones_come(kubernetes: Platform) -> None:
    """What was installed stays, what is asked for is added; an update can take it away again."""
    source, credentials = with_data(kubernetes, "ext", parameters={"extensions": ["citext"]})
    rows(credentials, "CREATE TABLE names (name public.citext)")
    assert kubernetes.deprovision(source).status_code == 200
    instance = new_id()
    wanted = {"extensions": ["hstore"]}
    assert _restore(kubernetes, source, into=instance, parameters=wanted).status_code == 201
    credentials = kubernetes.credentials(instance, new_id())
    installed = "SELECT extname FROM pg_extension WHERE extname <> 'plpgsql' ORDER BY 1"
    assert rows(credentials, installed) == [("citext",), ("hstore",)]
    assert kubernetes.update(instance, parameters={"extensions": []}).status_code == 200
    assert rows(credentials, installed) == [("citext",)]


def test_the_same_request_again_changes_nothing(kubernetes: Platform) -> None:
    """An identical replay is 200 although nothing is kept any more, another one 409."""
    source, _ = deleted_with_data(kubernetes, "replay")
    instance = new_id()
    assert _restore(kubernetes, source, into=instance).status_code == 201
    assert _restore(kubernetes, source, into=instance).status_code == 200
    assert _restore(kubernetes, new_id(), into=instance).status_code == 409
    assert kubernetes.provision(instance).status_code == 409


def test_it_can_be_restored_under_its_own_id(kubernetes: Platform) -> None:
    """The former id is as good as a new one."""
    source, _ = deleted_with_data(kubernetes, "same")
    assert _restore(kubernetes, source, into=source).status_code == 201
    assert word_of(kubernetes.credentials(source, new_id())) == "same"


def test_the_newest_deletion_of_an_id_is_restored(kubernetes: Platform) -> None:
    """An id that was deleted twice leads to the second data first, then to the first."""
    source, _ = deleted_with_data(kubernetes, "older")
    assert kubernetes.provision(source).status_code == 201
    rows(kubernetes.credentials(source, new_id()), "CREATE TABLE words AS SELECT 'newer' AS word")
    assert kubernetes.deprovision(source).status_code == 200
    for word in ("newer", "older"):
        instance = new_id()
        assert _restore(kubernetes, source, into=instance).status_code == 201
        assert word_of(kubernetes.credentials(instance, new_id())) == word


def test_a_restored_instance_is_kept_again(kubernetes: Platform) -> None:
    """Deletion and restore can follow each other for ever."""
    source, _ = deleted_with_data(kubernetes, "chain")
    for _ in range(2):
        instance = new_id()
        assert _restore(kubernetes, source, into=instance).status_code == 201
        assert kubernetes.deprovision(instance).status_code == 200
        source = instance
    instance = new_id()
    assert _restore(kubernetes, source, into=instance).status_code == 201
    assert word_of(kubernetes.credentials(instance, new_id())) == "chain"


@pytest.mark.parametrize(
    "place",
    [
        {"context": PLACE},
        {"context": PLACE | {"namespace": "team-b"}},
        {"context": PLACE | {"clusterid": "c2"}},
        {"context": {**PLACE, **ORGANIZATION}},
        {"context": {}},
        ORGANIZATION,
        ORGANIZATION | {"space_guid": "s2"},
    ],
)
@pytest.mark.usefixtures("unchanged")
def test_a_refusal_does_not_tell_whether_there_is_such_an_instance(
    kubernetes: Platform, place: dict[str, Any]
) -> None:
    """Nothing of that id is refused like something of another place (the next test)."""
    refused = _restore(kubernetes, new_id(), **place)
    assert (refused.status_code, refused.json()) == (400, {"description": _REFUSAL})


_REFUSAL = (
    "There is no deleted service instance of that id to restore here. It must have been deleted by "
    "the same platform, of the same service offering, in the same organization and space, the same "
    "cluster and namespace, or whatever else the platform's context says, and be kept still; a "
    "deletion has to be finished first. Nothing has been changed."
)


@pytest.mark.parametrize(
    ("deleted", "asked"),
    [
        ({"context": PLACE}, {"context": PLACE | {"namespace": "team-b"}}),
        ({"context": PLACE}, {"context": PLACE | {"clusterid": "c2"}}),
        ({"context": PLACE}, {"context": {}}),
        ({"context": PLACE}, {}),
        ({}, {"context": PLACE}),
        (ORGANIZATION, ORGANIZATION | {"organization_guid": "o2"}),
        (ORGANIZATION, ORGANIZATION | {"space_guid": "s2"}),
        (ORGANIZATION, {"context": {"platform": "cloudfoundry", **ORGANIZATION}}),
        ({"context": SUBACCOUNT}, {"context": SUBACCOUNT | {"subaccount_id": "b"}}),
        ({"context": SUBACCOUNT}, {"context": {"platform": "sapcp"}}),
        ({}, {"service_id": OTHER_SERVICE, "plan": OTHER_PLAN}),
    ],
)
def test_another_place_is_refused(
    kubernetes: Platform,
    kept: Callable[[], Footprint],
    deleted: dict[str, Any],
    asked: dict[str, Any],
) -> None:
    """Another namespace, cluster, organization, space or offering is 400 and gets nothing."""
    source = kubernetes.provisioned(**deleted)
    assert kubernetes.deprovision(source).status_code == 200
    before = kept().things()
    refused = _restore(kubernetes, source, **asked)
    assert (refused.status_code, refused.json()) == (400, {"description": _REFUSAL})
    assert kept().things() == before
    assert _restore(kubernetes, source, **deleted).status_code == 201


@pytest.mark.parametrize("context", [{}, {"platform": "sapcp"}, {"namespace": ""}])
def test_a_platform_that_says_no_place_gets_nothing_back(
    kubernetes: Platform, kept: Callable[[], Footprint], context: dict[str, Any]
) -> None:
    """All its tenants look the same: what one deleted could be had by any other."""
    source = kubernetes.provisioned(context=context)
    assert kubernetes.deprovision(source).status_code == 200
    before = kept().things()
    refused = _restore(kubernetes, source, context=context)
    assert (refused.status_code, refused.json()) == (400, {"description": _REFUSAL})
    assert kept().things() == before


def test_another_platform_is_refused(kubernetes: Platform, cloudfoundry: Platform) -> None:
    """What one platform deleted, another one cannot have, and is not told about."""
    source, _ = deleted_with_data(kubernetes, "mine")
    refused = _restore(cloudfoundry, source)
    assert (refused.status_code, refused.json()) == (400, {"description": _REFUSAL})
    assert _restore(kubernetes, source).status_code == 201


def test_data_is_given_away_once(kubernetes: Platform) -> None:
    """A second restore of the same deletion is refused like one of nothing."""
    source, _ = deleted_with_data(kubernetes, "once")
    assert _restore(kubernetes, source).status_code == 201
    refused = _restore(kubernetes, source)
    assert (refused.status_code, refused.json()) == (400, {"description": _REFUSAL})


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (TINY, "and the plan 'tiny' allows 1,048,576; choose a larger plan."),
        (ELSEWHERE, "its data lives on another kind of server."),
        (PLAIN, "has the extension 'citext', which the plan 'plain' does not offer"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused(
    kubernetes: Platform, kept: Callable[[], Footprint], plan: str, words: str
) -> None:
    """Size, pool and extensions have to fit; the reason is told to who may know, and 422."""
    source = kubernetes.provisioned(parameters={"extensions": ["citext"]})
    assert kubernetes.deprovision(source).status_code == 200
    before = kept().things()
    refused = _restore(kubernetes, source, plan)
    assert refused.status_code == 422
    assert words in refused.json()["description"]
    assert kept().things() == before
    assert _restore(kubernetes, source).status_code == 201


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    "parameters",
    [
        {"restore_from_instance": "x", "init-db-args": "--locale=C"},
        {"restore_from_instance": "x", "init-db-args": []},
        {"restore_from_instance": ""},
        {"restore_from_instance": None},
        {"restore_from_instance": ["x"]},
        {"restore_from_instance": "x" * 801},
        {"restore_from_instance": "\x00"},
    ],
)
def test_a_malformed_request_is_refused(kubernetes: Platform, parameters: dict[str, Any]) -> None:
    """What cannot be meant is 400 with a description, and changes nothing."""
    refused = kubernetes.provision(new_id(), parameters=parameters)
    assert refused.status_code == 400
    assert refused.json()["description"]


async def test_a_restore_that_the_server_refuses_gives_the_data_back(
    kubernetes: Platform, server: Server, store: PostgresStore, kept: Callable[[], Footprint]
) -> None:
    """An extension that the server lacks is 422; the data is kept as before, and not lost."""
    source, credentials = deleted_with_data(kubernetes, "back")
    before, deleted = kept().things(), await store.deleted.retained(_key(source))
    instance = new_id()
    wanted = {"extensions": ["there_is_no_such_extension"]}
    refused = _restore(kubernetes, source, into=instance, parameters=wanted)
    assert refused.status_code == 422
    assert kept().things() == before
    assert deleted is not None
    assert server.database(f"{credentials['database']}_deleted") == (False, deleted.key)
    assert kubernetes.fetch(instance).status_code == 404
    assert _restore(kubernetes, source, into=instance).status_code == 201
    assert word_of(kubernetes.credentials(instance, new_id())) == "back"


def test_an_update_cannot_ask_for_it(kubernetes: Platform) -> None:
    """The parameter belongs to new instances only."""
    instance = kubernetes.provisioned()
    refused = kubernetes.update(instance, parameters={"restore_from_instance": "x"})
    assert refused.status_code == 400
    assert "restore_from_instance" in refused.json()["description"]
    assert kubernetes.deprovision(instance, service_id=SERVICE).status_code == 200


def _key(instance: str) -> InstanceKey:
    return InstanceKey("kubernetes", instance)
