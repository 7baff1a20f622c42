"""What is wrong with a catalog, said with the line."""

from __future__ import annotations

import pytest

from .examples import CATALOG, edited, problem_of, problems_of


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "connections: 50",
            "connections: 50\n          storrage: 1GiB",
            "17: offerings[0].plans[1].limits has no key 'storrage'. Did you mean 'storage'?",
        ),
        (
            "        limits:\n          connections: 5\n",
            "",
            "6: offerings[0].plans[0] lacks 'limits'.",
        ),
        (
            "connections: 50",
            "connections: fifty",
            "16: offerings[0].plans[1].limits.connections is 'fifty': must be a whole number.",
        ),
        (
            "connections: 50",
            "connections: true",
            "16: offerings[0].plans[1].limits.connections is True: must be a whole number.",
        ),
        (
            "connections: 50",
            "connections: 0",
            "16: offerings[0].plans[1].limits.connections is 0: must be at least 1.",
        ),
        (
            "connections: 50",
            "connections: 999999",
            "16: offerings[0].plans[1].limits.connections is 999999: must be at most 262143.",
        ),
        (
            "limits:\n          connections: 5\n",
            "limits:\n",
            "10: offerings[0].plans[0].limits is empty: must be a mapping.",
        ),
        (
            "time_to_live: 90d",
            "time_to_live: 3 months",
            (
                "23: offerings[0].plans[1].bindings.time_to_live is '3 months': write a whole "
                "number with a unit: s, m, h or d (for example 30s, 15m, 12h or 90d)."
            ),
        ),
        (
            "default_role: read-only",
            "roles: {a: reed}",
            "22: offerings[0].plans[1].bindings.roles.a is 'reed': must be one of write, read.",
        ),
        (
            "default_role: read-only",
            "roles: {a b: read}",
            (
                "22: the key 'a b' of offerings[0].plans[1].bindings.roles: use letters, digits, "
                "'.' and '-', beginning with a letter or digit; at most 63 characters."
            ),
        ),
        (
            "default_role: read-only",
            "roles: {}",
            "22: offerings[0].plans[1].bindings.roles: must have at least 1 entry.",
        ),
        (
            "name: postgres",
            "name: |\n      postgres",
            (
                "3: offerings[0].name is 'postgres\\n': use letters, digits, '.' and '-', "
                "beginning with a letter or digit; at most 63 characters."
            ),
        ),
        (
            "description: A database.",
            "description: ''",
            "4: offerings[0].description is '': must not be empty.",
        ),
        (
            "allowed: [citext, hstore]",
            "allowed: [citext, hstore, citext]",
            "19: offerings[0].plans[1].extensions.allowed: must not name anything twice.",
        ),
        (
            "    plans:",
            "    metadata: {imageUrl: /elephant.png}\n    plans:",
            (
                "5: offerings[0].metadata.imageUrl is '/elephant.png': write a URL that begins "
                "with https://, http:// or data:image/."
            ),
        ),
        (
            "        limits:\n          connections: 50\n",
            (
                "        maintenance_info: {version: 1.0}\n        limits:\n"
                "          connections: 50\n"
            ),
            (
                "15: offerings[0].plans[1].maintenance_info.version is 1.0: write a semantic "
                "version such as 1.0.0 (see semver.org)."
            ),
        ),
        (
            "        limits:\n          connections: 50\n",
            (
                "        maintenance_info: {version: '1.0'}\n        limits:\n"
                "          connections: 50\n"
            ),
            (
                "15: offerings[0].plans[1].maintenance_info.version is '1.0': write a semantic "
                "version such as 1.0.0 (see semver.org)."
            ),
        ),
    ],
)
def test_a_mistake_of_form_names_its_line_and_what_is_allowed(
    old: str, new: str, message: str
) -> None:
    """What the schema forbids is one problem with the line, the path and the way out."""
    assert problem_of(edited(CATALOG, old, new)) == f"catalog.yaml:{message}"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "id: big-id",
            "id: Small-Id",
            "12: the id 'Small-Id' is already used at catalog.yaml:6; make a new GUID.",
        ),
        (
            "id: big-id",
            "id: offering-id",
            "12: the id 'offering-id' is already used at catalog.yaml:2; make a new GUID.",
        ),
        (
            "update_to: [big]",
            "update_to: [bog]",
            "9: no plan of this offering is called 'bog'. Did you mean 'big'?",
        ),
        (
            "update_to: [big]",
            "update_to: [small]",
            "9: the plan 'small' cannot be updated to itself.",
        ),
        (
            "name: big",
            "name: big\n        pool: fast",
            (
                "9: the plan 'big' has another provider or pool, and an update does not move a "
                "database to another server."
            ),
        ),
        (
            "connections_per_binding: 20",
            "connections_per_binding: 51",
            "17: connections_per_binding (51) must not exceed connections (50).",
        ),
        (
            "connections_per_binding: 20",
            "statement_timeout: 25d",
            "17: statement_timeout must be at most 24d; leave it out for no limit.",
        ),
        (
            "connections_per_binding: 20",
            "temp_file_limit: 2TiB",
            "17: temp_file_limit must be less than 2TiB; leave it out for no limit.",
        ),
        (
            "default: [hstore]",
            "default: [hstor]",
            (
                "20: the default extension 'hstor' is not in extensions.allowed. "
                "Did you mean 'hstore'?"
            ),
        ),
        (
            "default_role: read-only",
            "default_role: admin",
            "22: default_role 'admin' is none of the roles read-write, read-only.",
        ),
        (
            "renew_before: 7d",
            "renew_before: 90d",
            "24: renew_before (90d) must be shorter than time_to_live (90d).",
        ),
        (
            "          time_to_live: 90d\n",
            "",
            "23: renew_before needs a time_to_live: without one, credentials do not end.",
        ),
        (
            "time_to_live: 90d",
            "time_to_live: 40000d",
            "23: time_to_live must be at most 36500d; leave it out for credentials without end.",
        ),
    ],
)
def test_a_mistake_of_sense_names_its_line_and_the_way_out(
    old: str, new: str, message: str
) -> None:
    """What is well-formed and cannot work is one problem with the line and the way out."""
    assert problem_of(edited(CATALOG, old, new)) == f"catalog.yaml:{message}"


def test_two_plans_of_the_same_name_are_refused() -> None:
    """A plan's name is unique within its offering."""
    text = edited(edited(CATALOG, "name: big", "name: small"), "        update_to: [big]\n", "")
    assert problem_of(text) == (
        "catalog.yaml:12: another plan of this offering is already called 'small'."
    )


def test_two_offerings_of_the_same_name_are_refused() -> None:
    """An offering's name is unique within the catalog."""
    second = CATALOG.removeprefix("offerings:\n").replace("-id", "-id2")
    assert problem_of(CATALOG + second) == (
        "catalog.yaml:26: another offering is already called 'postgres'."
    )


def test_all_mistakes_are_reported_at_once_in_the_order_of_the_file() -> None:
    """Three mistakes in a file are three problems, by line."""
    text = edited(CATALOG, "connections: 50", "connections: 0")
    text = edited(text, "name: small", "nmae: small")
    assert [problem.where for problem in problems_of(text)] == [
        "catalog.yaml:6",
        "catalog.yaml:7",
        "catalog.yaml:16",
    ]


def test_a_mistake_behind_an_anchor_is_reported_once() -> None:
    """What an anchor brings into two plans is one problem on the one line to correct."""
    text = edited(
        CATALOG,
        "          connections: 5\n",
        "          connections: 5\n        bindings: &b {renew_before: 1d}\n",
    )
    bindings = text.index("        bindings:\n")
    assert problem_of(text[:bindings] + "        bindings: *b\n") == (
        "catalog.yaml:12: renew_before needs a time_to_live: without one, credentials do not end."
    )
