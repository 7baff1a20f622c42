"""The parameter schemas that a plan publishes."""

from __future__ import annotations

import json

from jsonschema import Draft4Validator

from broker.config import load_catalog
from broker.config.environment import DEFAULT_CATALOG
from broker.domain.parameters import EXTENSIONS, INIT_DB_ARGS, ROLE

from .examples import only_plan

LIMITS = "        limits: {connections: 5}\n"

SPEC_LIMIT = 64_000


def test_schemas_are_closed_and_of_draft_4() -> None:
    """Each says its version, satisfies its meta-schema and allows nothing it does not name."""
    for plan in load_catalog(DEFAULT_CATALOG).offerings[0].plans:
        assert set(plan.schemas) == {"provision", "update", "bind"}
        for schema in plan.schemas.values():
            assert schema["$schema"] == "http://json-schema.org/draft-04/schema#"
            assert schema["additionalProperties"] is False
            Draft4Validator.check_schema(dict(schema))
            assert all(field["description"] for field in schema["properties"].values())


def test_a_plan_offers_what_its_catalog_allows() -> None:
    """Extensions and roles of the catalog are the values of the published schema."""
    plan = only_plan(
        LIMITS
        + "        extensions: {allowed: [citext, hstore], default: [hstore]}\n"
        + "        bindings: {roles: {rw: write, ro: read}, default_role: ro}\n"
    )
    for kind in ("provision", "update"):
        properties = plan.schemas[kind]["properties"]
        assert set(properties) == {INIT_DB_ARGS, EXTENSIONS}
        assert properties[EXTENSIONS]["items"]["enum"] == ["citext", "hstore"]
        assert "Every database has hstore." in properties[EXTENSIONS]["description"]
    role = plan.schemas["bind"]["properties"][ROLE]
    assert (role["enum"], role["default"]) == (["rw", "ro"], "ro")


def test_a_plan_without_extensions_has_no_such_parameter() -> None:
    """What a plan does not offer is not advertised."""
    schemas = only_plan(LIMITS).schemas
    assert set(schemas["provision"]["properties"]) == {INIT_DB_ARGS}


def test_the_largest_catalog_has_schemas_that_platforms_accept() -> None:
    """Even with all extensions and roles that the catalog's schema lets in, 64 kB suffice."""
    extensions = ", ".join(f"e{number:062}" for number in range(256))
    roles = ", ".join(f"r{number:062}: write" for number in range(32))
    plan = only_plan(
        LIMITS
        + f"        extensions: {{allowed: [{extensions}], default: [{extensions}]}}\n"
        + f"        bindings: {{roles: {{{roles}}}}}\n"
    )
    sizes = [len(json.dumps(schema)) for schema in plan.schemas.values()]
    assert max(sizes) < SPEC_LIMIT
