"""New tags for a database and its roles, when the key they are made with is replaced.

Belongs here: proving that everything is the broker's, by the old tag or the new one, and changing
all comments in one transaction.

See the PostgreSQL manual, "COMMENT".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.domain.errors import PermanentFailure
from broker.postgres import statements
from broker.postgres.databases import look

if TYPE_CHECKING:
    from broker.domain.database import Retagging
    from broker.postgres.hold import Hold


async def retag(hold: Hold, retagging: Retagging) -> None:
    """Write the comments anew; logins that are missing are passed over.

    Args:
        hold: The lock of the database.
        retagging: The tags.

    Raises:
        PermanentFailure: The database or a group role is missing, or something has neither tag.
    """
    found = await look(hold, name=retagging.database)
    roles = await hold.roles([*retagging.groups, *retagging.logins])
    present: dict[str, str | None] = {name: role.tag for name, role in roles.items()}
    accepted = dict.fromkeys(retagging.groups, retagging.accepted) | {
        name: (old, new.partition(" ")[0]) for name, (old, new) in retagging.logins.items()
    }
    wrong = [name for name, tag in present.items() if tag not in accepted[name]]
    missing = [name for name in retagging.groups if name not in present]
    if found is None or found.tag not in retagging.accepted or wrong or missing:
        names = ", ".join([*missing, *wrong]) or retagging.database
        raise PermanentFailure(
            f"The tags of the database {retagging.database!r} cannot be changed: {names} is "
            "missing, or carries the tag of something else. See `pgbroker reconcile`. Nothing has "
            "been changed."
        )
    await statements.run(
        hold.connection,
        statements.comment_on_database(retagging.database, retagging.new_tag),
        *(statements.comment_on_role(name, comment) for name, comment in retagging.groups.items()),
        *(
            statements.comment_on_role(name, comment)
            for name, (_, comment) in retagging.logins.items()
            if name in present
        ),
    )
    hold.changed()
