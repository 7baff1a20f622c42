"""Adopting what was made for the warm stock.

Belongs here: giving a database and its group roles the tags of the instance that has claimed it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.domain.errors import TemporaryFailure
from broker.postgres import statements

if TYPE_CHECKING:
    from broker.domain.database import DatabaseSpec
    from broker.postgres.hold import Found, Hold


_PARTS = 3
"""What is tagged: a database and its two group roles."""


async def adopt_database(
    hold: Hold, spec: DatabaseSpec, stock_tag: str, *, in_part: bool = True
) -> bool:
    """Tag what still has the tag of the stock as the instance's, in one transaction.

    Costs nothing when there is nothing to adopt. What was whole is remembered as such: then all
    that ``initialise_database`` does was done when it was made.

    Args:
        hold: The lock of the database.
        spec: The database as it shall be.
        stock_tag: What its comment and its roles' say while it is in the stock.
        in_part: Also when some of it was changed or dropped in the stock. Whoever cannot make that
            anew leaves it to whoever can, for it is never made again once it has been tagged.

    Returns:
        Whether nobody can have been in it before: it had the tag of the stock, or is missing and
        never had the instance's.

    Raises:
        TemporaryFailure: Some of it was changed or dropped, and is being made anew.
    """
    found = await hold.look()
    tagged = {role.name for role in found.groups.values() if role.tag == stock_tag}
    database = found.database
    comments = [
        statements.comment_on_role(name, comment)
        for name, comment in ((spec.name, spec.tag), (spec.owner, spec.owner_comment))
        if name in tagged
    ]
    if database is not None and database.ours and database.tag == stock_tag:
        comments.append(statements.comment_on_database(spec.name, spec.tag))
    if not comments:
        return database is None and not found.groups
    if len(comments) < _PARTS and not in_part:
        raise TemporaryFailure(
            f"The database {spec.name!r} is being put right. Try again in a moment."
        )
    whole = _whole(found, spec, stock_tag)
    await statements.run(hold.connection, *comments)
    hold.adopted(stock_tag, spec.tag, whole=whole)
    return True


def _whole(found: Found, spec: DatabaseSpec, stock_tag: str) -> bool:
    """Tell whether all of a database is as it was made for the stock, with these limits."""
    database = found.database
    return (
        database is not None
        and database.ours
        and database.tag == stock_tag
        and database.connectable
        and database.connection_limit == database.recorded_limit == spec.limits.connections
        and all(
            (role := found.groups.get(name)) is not None and role.tag == stock_tag
            for name in (spec.name, spec.owner)
        )
    )
