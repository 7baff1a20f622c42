"""Decisions about deleted instances: who may restore one, and into what."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from broker.domain.deleted import (
    DeletedInstance,
    Stage,
    check_extensions,
    check_room,
    check_same_place,
)
from broker.domain.errors import InvalidRequest, Unprocessable
from broker.domain.instance import InstanceKey, Status
from broker.domain.parameters import InstanceParameters
from broker.domain.storage import StorageState

from .examples import INSTANCE, NOW, PLAN, a_provision

DELETED = DeletedInstance(
    id=UUID(int=7),
    instance=INSTANCE,
    deleted_at=NOW,
    purge_at=NOW + timedelta(days=7),
    stage=Stage.RETAINED,
)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"plan_id": "big-id"},
        {"parameters": {"restore_from_instance": "instance-1"}},
        {"instance": InstanceKey("kubernetes", "another")},
        {"context": {"platform": "kubernetes", "namespace": "default", "instance_name": "new"}},
    ],
)
def test_who_deleted_it_may_have_it(changes: dict[str, Any]) -> None:
    """Names, plans and parameters do not matter: the place does."""
    assert check_same_place(DELETED, a_provision(**changes)) is DELETED


@pytest.mark.parametrize(
    "changes",
    [
        {"service_id": "another"},
        {"organization_guid": "another"},
        {"organization_guid": None},
        {"space_guid": "another"},
        {"context": {"platform": "kubernetes", "namespace": "another"}},
        {"context": {"platform": "cloudfoundry", "namespace": "default"}},
        {"context": {"platform": "kubernetes", "namespace": "default", "clusterid": "new"}},
        {"context": {"platform": "kubernetes"}},
        {"context": {}},
        {"context": {"platform": "kubernetes", "namespace": "default", "tenant_id": "another"}},
    ],
)
def test_others_get_one_and_the_same_refusal(changes: dict[str, Any]) -> None:
    """A request from another place is told what one for nothing at all is told."""
    with pytest.raises(InvalidRequest) as nothing:
        check_same_place(None, a_provision())
    with pytest.raises(InvalidRequest) as elsewhere:
        check_same_place(DELETED, a_provision(**changes))
    assert elsewhere.value.description == nothing.value.description


@pytest.mark.parametrize("name", ["subaccount_id", "zone_id", "tenant_id", "anything"])
def test_every_platform_has_words_of_its_own_for_tenants(name: str) -> None:
    """Whatever is said in the context has to be the same, but names and annotations."""
    instance = replace(INSTANCE, organization_guid=None, space_guid=None)
    here = {"platform": "another", name: "here", "space_name": "first"}
    found = replace(DELETED, instance=replace(instance, context=here))
    request = a_provision(organization_guid=None, space_guid=None)
    renamed = replace(request, context={**here, "space_name": "second"})
    assert check_same_place(found, renamed) is found
    with pytest.raises(InvalidRequest):
        check_same_place(found, replace(request, context={**here, name: "there"}))


@pytest.mark.parametrize("context", [{}, {"platform": "x"}, {"instance_name": "a"}, {"zone": None}])
def test_who_says_no_place_is_in_none(context: dict[str, Any]) -> None:
    """Two requests that say nothing are not of the same place."""
    nowhere = replace(INSTANCE, context=context, organization_guid=None, space_guid=None)
    request = a_provision(context=context, organization_guid=None, space_guid=None)
    with pytest.raises(InvalidRequest):
        check_same_place(replace(DELETED, instance=nowhere), request)


@pytest.mark.parametrize("stage", [stage for stage in Stage if stage is not Stage.RETAINED])
def test_only_what_is_aside_can_be_had(stage: Stage) -> None:
    """What is on the move, or about to be dropped, is refused like what was never there."""
    with pytest.raises(InvalidRequest, match="There is no deleted service instance"):
        check_same_place(replace(DELETED, stage=stage), a_provision())


def test_data_has_to_fit() -> None:
    """Up to the last byte of the plan's storage; a plan without a limit takes everything."""
    check_room(PLAN, 1000)
    with pytest.raises(Unprocessable, match="occupies 1,001 bytes and the plan 'small' allows"):
        check_room(PLAN, 1001)
    check_room(replace(PLAN, limits=replace(PLAN.limits, storage=None)), 2**60)


def test_extensions_have_to_be_offered() -> None:
    """The plan must offer each, by default or on request."""
    check_extensions(PLAN, ("citext", "hstore"))
    with pytest.raises(Unprocessable, match="'postgis', which the plan 'small' does not offer"):
        check_extensions(PLAN, ("citext", "postgis"))


def test_a_new_instance_gets_database_and_extensions_and_nothing_else() -> None:
    """Its ids, plan, parameters and key are its own."""
    new = replace(
        INSTANCE,
        key=InstanceKey("kubernetes", "new"),
        plan_id="big-id",
        server="beta",
        database="dnew",
        owner="dnew_owner",
        tag_key_id="k2",
        extensions=("pg_trgm", "citext"),
        status=Status.CREATING,
    )
    assert DELETED.given_to(new) == replace(
        new,
        server="alpha",
        database="dabc",
        owner="dabc_owner",
        extensions=("citext", "hstore", "pg_trgm"),
        storage=StorageState.RELEASING,
    )


def test_an_instance_put_back_is_what_it_was() -> None:
    """All of it, about to be made, with tags of the key in use."""
    assert DELETED.revived(tag_key_id="k2") == replace(
        INSTANCE, status=Status.CREATING, tag_key_id="k2", storage=StorageState.RELEASING
    )


@pytest.mark.parametrize("options", ["", [], "--locale=C"])
def test_options_of_a_new_database_exclude_a_restore(options: Any) -> None:
    """A database that exists cannot be created with options, not even with none."""
    parameters = {"restore_from_instance": "x", "init-db-args": options}
    with pytest.raises(InvalidRequest, match="exclude each other"):
        InstanceParameters.parse(parameters)
