"""The meaning of parameters."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.domain.catalog import Extensions
from broker.domain.database import Access, DatabaseOptions
from broker.domain.errors import InvalidRequest, UpdateRefused
from broker.domain.parameters import (
    InstanceParameters,
    binding_access,
    merge_parameters,
    parse_init_db_args,
    provision_extensions,
    update_extensions,
)
from tests.unit.domain.examples import PLAN


@pytest.mark.parametrize(
    ("value", "options"),
    [
        ("", DatabaseOptions()),
        ([], DatabaseOptions()),
        ("--data-checksums", DatabaseOptions(data_checksums=True)),
        ("-k", DatabaseOptions(data_checksums=True)),
        (["--data-checksums"], DatabaseOptions(data_checksums=True)),
        ("-E UTF8", DatabaseOptions(encoding="UTF8")),
        ("-EUTF8", DatabaseOptions(encoding="UTF8")),
        ("--encoding=UTF8 --locale=C", DatabaseOptions(encoding="UTF8", locale="C")),
        ("--locale 'de DE'", DatabaseOptions(locale="de DE")),
        ("--no-locale", DatabaseOptions(locale="C")),
        (
            ["--lc-collate=C", "--lc-ctype", "en_US.UTF-8"],
            DatabaseOptions(lc_collate="C", lc_ctype="en_US.UTF-8"),
        ),
        (
            "--locale-provider=icu --icu-locale=de --icu-rules='&a < b'",
            DatabaseOptions(locale_provider="icu", icu_locale="de", icu_rules="&a < b"),
        ),
        (
            "--locale-provider=builtin --builtin-locale=C.UTF-8",
            DatabaseOptions(locale_provider="builtin", builtin_locale="C.UTF-8"),
        ),
    ],
)
def test_initdb_options_are_understood(value: str | list[str], options: DatabaseOptions) -> None:
    """All of its own spellings, in one line or as words, become options of CREATE DATABASE."""
    assert parse_init_db_args(value) == options


@pytest.mark.parametrize(
    "value",
    [
        "--auth=trust",
        "-A trust",
        "-D /elsewhere",
        "--pgdata=/elsewhere",
        "--wal-segsize=1",
        "--data-checksums=yes",
        "--no-data-checksums",
        "--superuser-password",
        "-c log_statement=all",
        "--set shared_preload_libraries=x",
        "--locale",
        "--locale=",
        "-E ''",
        "--locale-provider=other",
        "--encoding 'UTF8",
        "UTF8",
        "--",
        "-",
        "--help",
        "-h",
        "--version",
        "@file",
        "; rm -rf /",
        ["-E"],
        ["--locale=C;DROP DATABASE postgres", "x"],
    ],
)
def test_other_options_are_refused(value: str | list[str]) -> None:
    """What cannot be honoured for one database is refused by name, and nothing is ignored."""
    with pytest.raises(InvalidRequest, match="init-db-args"):
        parse_init_db_args(value)


@pytest.mark.parametrize(
    "value",
    [
        "--pwfile=canary",
        "--locale-provider=canary",
        "--data-checksums=canary",
        "--no-locale=canary's",
        "canary",
        ["--pwfile", "canary"],
    ],
)
def test_a_refusal_repeats_no_value(value: str | list[str]) -> None:
    """A password in the wrong place comes back in no message; the option's name does."""
    with pytest.raises(InvalidRequest) as refusal:
        parse_init_db_args(value)
    assert "canary" not in refusal.value.description


@pytest.mark.parametrize("value", ["--data", "--enc UTF8", "--loc=C", "--lc=C", "--no"])
def test_abbreviations_are_refused(value: str) -> None:
    """An abbreviation could come to mean something else; initdb's own full names are required."""
    with pytest.raises(InvalidRequest, match="init-db-args"):
        parse_init_db_args(value)


@given(st.one_of(st.text(), st.lists(st.text())))
def test_no_text_does_anything_but_parse_or_be_refused(value: str | list[str]) -> None:
    """Whatever is sent, the answer is options or a refusal."""
    with suppress(InvalidRequest):
        assert isinstance(parse_init_db_args(value), DatabaseOptions)


def test_a_provision_installs_the_plans_and_the_users_extensions() -> None:
    """Defaults come first, and nothing comes twice."""
    asked = InstanceParameters.parse({"extensions": ["hstore", "citext"]})
    assert provision_extensions(PLAN, asked) == ("citext", "hstore")


def test_an_update_keeps_what_it_does_not_name() -> None:
    """What an update leaves out stays; what it names is replaced."""
    stored = {"init-db-args": "--locale=C", "extensions": ["hstore"]}
    assert merge_parameters(stored, None) == stored
    assert merge_parameters(stored, {}) == stored
    assert merge_parameters(stored, {"extensions": []}) == {**stored, "extensions": []}


def test_an_update_may_repeat_the_options_in_other_words() -> None:
    """The same options spelled differently are no change of the database."""
    merged = merge_parameters({"init-db-args": "-k"}, {"init-db-args": ["--data-checksums"]})
    assert merged == {"init-db-args": ["--data-checksums"]}


@pytest.mark.parametrize("value", ["--locale=C", "", "-k --locale=C"])
def test_an_update_cannot_change_how_the_database_was_created(value: str) -> None:
    """Other options than at the beginning are refused for good."""
    with pytest.raises(UpdateRefused, match="create a new instance") as caught:
        merge_parameters({"init-db-args": "-k"}, {"init-db-args": value})
    assert caught.value.update_repeatable is False


@pytest.mark.parametrize(
    ("installed", "before", "after", "result"),
    [
        (("citext", "hstore"), ["hstore"], ["hstore"], ("citext", "hstore")),
        (("citext", "hstore"), ["hstore"], ["pg_trgm"], ("citext", "pg_trgm")),
        (("citext", "hstore"), ["hstore"], [], ("citext",)),
        (("citext",), ["citext"], [], ("citext",)),
        ((), [], [], ("citext",)),
    ],
)
def test_an_update_adds_and_drops_what_the_user_says(
    installed: tuple[str, ...], before: list[str], after: list[str], result: tuple[str, ...]
) -> None:
    """What was withdrawn goes, what was asked for comes, and the plan's defaults are always in."""
    extensions = update_extensions(
        PLAN,
        installed=installed,
        before=InstanceParameters.parse({"extensions": before}),
        after=InstanceParameters.parse({"extensions": after}),
    )
    assert extensions == result


def test_a_plan_change_drops_no_extension_by_itself() -> None:
    """A default of the former plan stays if the new one allows it, and is named if it does not."""
    nothing = InstanceParameters.parse({})
    lenient = replace(PLAN, extensions=Extensions(allowed=("hstore",)))
    strict = replace(PLAN, extensions=Extensions())
    assert update_extensions(lenient, installed=("hstore",), before=nothing, after=nothing) == (
        "hstore",
    )
    with pytest.raises(UpdateRefused, match="'hstore'") as caught:
        update_extensions(strict, installed=("hstore",), before=nothing, after=nothing)
    assert caught.value.update_repeatable is False


@pytest.mark.parametrize(
    ("parameters", "access"),
    [({}, Access.WRITE), ({"role": "rw"}, Access.WRITE), ({"role": "ro"}, Access.READ)],
)
def test_a_role_means_what_the_plan_says(parameters: dict[str, Any], access: Access) -> None:
    """The plan's names, and its default where none is given, decide what a binding may do."""
    assert binding_access(PLAN, parameters) == access


def test_an_unknown_role_is_refused_with_the_known_ones() -> None:
    """The refusal lists what the plan offers."""
    with pytest.raises(InvalidRequest, match="rw, ro"):
        binding_access(PLAN, {"role": "owner"})
