"""What ``CREATE DATABASE`` is told, by server version.

Belongs here: the translation of ``DatabaseOptions`` and the refusals that follow from the version
and the configuration of the server.

See the PostgreSQL manual, "CREATE DATABASE".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.domain.errors import Unprocessable

if TYPE_CHECKING:
    from broker.domain.database import DatabaseOptions
    from broker.postgres.facts import Facts

_SINCE = {
    "LOCALE_PROVIDER": 15,
    "ICU_LOCALE": 15,
    "ICU_RULES": 16,
    "BUILTIN_LOCALE": 17,
}
"""The first version with each option; those missing here are older than our oldest."""

_BUILTIN_PROVIDER_SINCE = 17


def create_options(options: DatabaseOptions, facts: Facts) -> list[tuple[str, str]]:
    """Translate options into those of ``CREATE DATABASE``.

    Args:
        options: What the user asked for.
        facts: What the server is like.

    Returns:
        Names and values, in the order of the manual.

    Raises:
        Unprocessable: This server cannot do it.
    """
    if options.data_checksums and not facts.data_checksums:
        raise Unprocessable(
            "Data checksums (--data-checksums) are off on the server of this plan, and they cannot "
            "be turned on for one database. Leave the option out, or choose another plan."
        )
    chosen = {
        "ENCODING": options.encoding,
        "LOCALE_PROVIDER": _provider(options, facts),
        **_locales(options),
        "ICU_LOCALE": options.icu_locale,
        "ICU_RULES": options.icu_rules,
        "BUILTIN_LOCALE": options.builtin_locale,
    }
    given = [(name, value) for name, value in chosen.items() if value is not None]
    for name, _ in given:
        _require(name, _SINCE.get(name, 0), facts)
    return given


def _provider(options: DatabaseOptions, facts: Facts) -> str | None:
    if options.locale_provider == "libc" and facts.version < _SINCE["LOCALE_PROVIDER"]:
        return None  # the only one there is
    if options.locale_provider == "builtin":
        _require("LOCALE_PROVIDER = builtin", _BUILTIN_PROVIDER_SINCE, facts)
    return options.locale_provider


def _locales(options: DatabaseOptions) -> dict[str, str | None]:
    """Spell a locale out where it is combined with its parts, which PostgreSQL 14 refuses."""
    if options.lc_collate is None and options.lc_ctype is None:
        return {"LOCALE": options.locale}
    return {
        "LC_COLLATE": options.lc_collate or options.locale,
        "LC_CTYPE": options.lc_ctype or options.locale,
    }


def _require(what: str, version: int, facts: Facts) -> None:
    if facts.version < version:
        raise Unprocessable(
            f"{what} needs PostgreSQL {version} or newer, and the server of this plan runs "
            f"{facts.version}. Leave the option out, or choose another plan."
        )
