"""What the parameters of a provision, update or bind request mean.

Their shape has been checked against the plan's published schema by then; here they get their
meaning.
"""

from __future__ import annotations

import argparse
import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from broker.domain.database import Access, DatabaseOptions
from broker.domain.errors import InvalidRequest, UpdateRefused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from broker.domain.catalog import Plan

INIT_DB_ARGS = "init-db-args"
EXTENSIONS = "extensions"
ROLE = "role"
RESTORE_FROM = "restore_from_instance"

_LOCALE_PROVIDERS = ("libc", "icu", "builtin")

_HONOURED = (
    "--encoding, --locale, --no-locale, --lc-collate, --lc-ctype, --locale-provider, --icu-locale, "
    "--icu-rules, --builtin-locale and --data-checksums"
)


class _InitdbParser(argparse.ArgumentParser):
    """initdb's options, as far as they concern a single database."""

    def __init__(self) -> None:
        super().__init__(prog="initdb", add_help=False, allow_abbrev=False)
        self.add_argument("-E", "--encoding")
        self.add_argument("--locale")
        self.add_argument("--no-locale", dest="locale", action="store_const", const="C")
        self.add_argument("--lc-collate")
        self.add_argument("--lc-ctype")
        self.add_argument("--locale-provider")
        self.add_argument("--icu-locale")
        self.add_argument("--icu-rules")
        self.add_argument("--builtin-locale")
        self.add_argument("-k", "--data-checksums", action="store_true")

    def error(self, message: str) -> NoReturn:
        # The library repeats values; one may be a secret in the wrong place.
        problem = re.sub(r" '.*'", "", message, flags=re.DOTALL)
        raise InvalidRequest(f"The parameter {INIT_DB_ARGS!r} is wrong: {problem}.")


_INITDB = _InitdbParser()


def parse_init_db_args(value: str | Sequence[str]) -> DatabaseOptions:
    """Parse ``initdb`` options into the ``CREATE DATABASE`` options they stand for.

    Nothing is passed to a shell, and nothing is ignored.

    Args:
        value: One command line, or its words.

    Raises:
        InvalidRequest: An option that cannot be honoured for a single database, or a malformed one.

    See the PostgreSQL manual, "initdb" and "CREATE DATABASE".
    """
    try:
        words = shlex.split(value) if isinstance(value, str) else list(value)
    except ValueError as exc:
        raise InvalidRequest(
            f"The parameter {INIT_DB_ARGS!r} is not a command line: {exc}."
        ) from exc
    options, unknown = _INITDB.parse_known_args(words)
    if unknown:
        option = unknown[0].partition("=")[0][:100]
        named = repr(option) if option.startswith("-") else "a word that belongs to no option"
        raise InvalidRequest(
            f"The parameter {INIT_DB_ARGS!r} has {named}, which cannot be honoured for a single "
            f"database; possible are {_HONOURED}."
        )
    if options.locale_provider not in {None, *_LOCALE_PROVIDERS}:
        raise InvalidRequest(
            f"The parameter {INIT_DB_ARGS!r} gives --locale-provider another value than "
            f"{', '.join(_LOCALE_PROVIDERS)}."
        )
    for name, given in vars(options).items():
        if given == "":
            option = name.replace("_", "-")
            raise InvalidRequest(f"The parameter {INIT_DB_ARGS!r} gives --{option} an empty value.")
    return DatabaseOptions(**vars(options))


@dataclass(frozen=True, slots=True)
class InstanceParameters:
    """The meaning of an instance's parameters.

    Attributes:
        options: How to create the database.
        extensions: What the user asked for, in addition to the plan's defaults.
        restore_from: The id of the deleted instance whose database this one gets.
    """

    options: DatabaseOptions
    extensions: tuple[str, ...]
    restore_from: str | None = None

    @classmethod
    def parse(cls, parameters: Mapping[str, Any]) -> InstanceParameters:
        """Read a provision request's parameters.

        Raises:
            InvalidRequest: One of them means nothing, or two exclude each other.
        """
        restore_from = parameters.get(RESTORE_FROM)
        if restore_from is not None and INIT_DB_ARGS in parameters:
            raise InvalidRequest(
                f"The parameters {RESTORE_FROM!r} and {INIT_DB_ARGS!r} exclude each other: a "
                "restored database keeps the options it was created with."
            )
        return cls(
            options=parse_init_db_args(parameters.get(INIT_DB_ARGS, ())),
            extensions=tuple(parameters.get(EXTENSIONS, ())),
            restore_from=restore_from,
        )


def provision_extensions(plan: Plan, parameters: InstanceParameters) -> tuple[str, ...]:
    """Return the plan's default extensions and the ones asked for, each once, in that order."""
    return tuple(dict.fromkeys((*plan.extensions.default, *parameters.extensions)))


def merge_parameters(
    stored: Mapping[str, Any], requested: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Lay an update's parameters over the stored ones; what it leaves out stays as it was.

    Raises:
        UpdateRefused: It changes what is fixed when the database is created.
    """
    merged = {**stored, **(requested or {})}
    before = parse_init_db_args(stored.get(INIT_DB_ARGS, ()))
    if parse_init_db_args(merged.get(INIT_DB_ARGS, ())) != before:
        raise UpdateRefused(
            f"The parameter {INIT_DB_ARGS!r} takes effect when the database is created and cannot "
            "be changed; create a new instance with it. Nothing has been changed.",
            instance_usable=True,
            update_repeatable=False,
        )
    return merged


def update_extensions(
    plan: Plan,
    *,
    installed: Sequence[str],
    before: InstanceParameters,
    after: InstanceParameters,
) -> tuple[str, ...]:
    """Work out which extensions an instance has after an update.

    What the user took out of the parameter goes, what they or the (new) plan ask for comes, and
    everything else stays: an extension is never dropped because a plan changed.

    Args:
        plan: The plan after the update.
        installed: What the broker has installed.
        before: The parameters before.
        after: The parameters after.

    Raises:
        UpdateRefused: The plan does not allow an extension that would stay.
    """
    withdrawn = set(before.extensions) - set(after.extensions) - set(plan.extensions.default)
    kept = [name for name in installed if name not in withdrawn]
    extensions = tuple(dict.fromkeys((*kept, *plan.extensions.default, *after.extensions)))
    allowed = {*plan.extensions.allowed, *plan.extensions.default}
    excluded = [name for name in extensions if name not in allowed]
    if excluded:
        raise UpdateRefused(
            f"The plan {plan.name!r} does not offer the extension {excluded[0]!r} which this "
            f"instance uses; take it out of the parameter {EXTENSIONS!r} first, or choose another "
            "plan. Nothing has been changed.",
            instance_usable=True,
            update_repeatable=False,
        )
    return extensions


def binding_access(plan: Plan, parameters: Mapping[str, Any]) -> Access:
    """Return what a binding may do.

    Raises:
        InvalidRequest: The plan does not offer the role asked for.
    """
    role = parameters.get(ROLE, plan.bindings.default_role)
    try:
        return plan.bindings.roles[role]
    except KeyError:
        offered = ", ".join(plan.bindings.roles)
        raise InvalidRequest(
            f"The plan {plan.name!r} offers no binding role {role!r}; it offers: {offered}."
        ) from None
