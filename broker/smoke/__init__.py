"""``pgbroker smoke``: the whole life of an instance against any Open Service Broker of PostgreSQL.

Belongs here: a platform and a tenant in miniature, and showing what happened to them. It knows a
broker by its URL only, so it imports nothing of this one but the domain's ``Secret``.
"""

from broker.smoke.errors import TargetUnusable
from broker.smoke.run import Wishes, smoke
from broker.smoke.target import find_target

__all__ = ["TargetUnusable", "Wishes", "find_target", "smoke"]
