"""The JSON Schemas of a plan's parameters: published in the catalog, enforced by the API.

Belongs here: from a plan's settings to its schemas. They are of draft 4, the one every platform
must support (OSB API 2.17, "Input Parameters Schema Object").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from broker.domain.parameters import EXTENSIONS, INIT_DB_ARGS, RESTORE_FROM, ROLE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.domain.catalog import BindingPolicy, Extensions
    from broker.domain.database import Access

DRAFT_4 = "http://json-schema.org/draft-04/schema#"

_MAX_OPTIONS = 32
_MAX_OPTION_LENGTH = 1024

_MAX_ID_LENGTH = 800

_SOURCE = {
    "title": "Deleted instance to restore",
    "description": (
        "The id of a deleted service instance whose database is kept still: the new instance gets "
        "that database with all its data, and the deleted one cannot be restored again. It must "
        "have been deleted in the same organization and space, or cluster and namespace."
    ),
    "type": "string",
    "minLength": 1,
    "maxLength": _MAX_ID_LENGTH,
}

_MEANINGS = {
    "write": "read and write everything",
    "read": "read everything and change nothing",
}


def parameter_schemas(
    extensions: Extensions, bindings: BindingPolicy, *, restorable: bool = False
) -> dict[str, dict[str, Any]]:
    """Return the schemas of a plan under the keys ``provision``, ``update`` and ``bind``.

    Args:
        extensions: Of the plan.
        bindings: Likewise.
        restorable: Whether a plan of the offering keeps the databases of deleted instances.
    """
    instance = _instance_properties(extensions)
    source = {RESTORE_FROM: _SOURCE} if restorable else {}
    return {
        "provision": _object("Parameters of a new database.", instance | source),
        "update": _object("Parameters to change; what is left out stays.", instance),
        "bind": _object(
            "Parameters of new credentials.",
            {ROLE: _role(bindings.roles, bindings.default_role)},
        ),
    }


def _object(description: str, properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "$schema": DRAFT_4,
        "description": description,
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }


def _instance_properties(extensions: Extensions) -> dict[str, Any]:
    properties: dict[str, Any] = {
        INIT_DB_ARGS: {
            "title": "Options of initdb",
            "description": (
                "Options in initdb's own syntax: encoding, locale and locale provider of the "
                "database, and --data-checksums. They cannot be changed later. "
                "Examples: '--data-checksums', '--encoding=UTF8 --locale=C', "
                "['--locale-provider=icu', '--icu-locale=de']."
            ),
            "type": ["string", "array"],
            "maxLength": _MAX_OPTION_LENGTH,
            "maxItems": _MAX_OPTIONS,
            "items": {"type": "string", "maxLength": _MAX_OPTION_LENGTH},
        }
    }
    if extensions.allowed:
        always = f" Every database has {', '.join(extensions.default)}." * bool(extensions.default)
        properties[EXTENSIONS] = {
            "title": "PostgreSQL extensions",
            "description": (
                "Extensions to install. An update with this parameter installs what is new in "
                f"the list and drops what is missing from it.{always}"
            ),
            "type": "array",
            "maxItems": len(extensions.allowed),
            "items": {"type": "string", "enum": list(extensions.allowed)},
            "uniqueItems": True,
        }
    return properties


def _role(roles: Mapping[str, Access], default: str) -> dict[str, Any]:
    meanings = "; ".join(f"{name}: {_MEANINGS[access]}" for name, access in roles.items())
    return {
        "title": "Role",
        "description": f"What the credentials allow. {meanings}.",
        "type": "string",
        "enum": list(roles),
        "default": default,
    }
