"""The registration goes away while developers still have databases, and comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg

from tests.e2e.walkthrough import BINDING, BROKER, INSTANCE, bind, provision, register

if TYPE_CHECKING:
    from tests.e2e.broker import Broker
    from tests.e2e.cluster.kubectl import Cluster


def test_databases_outlive_the_registration(namespace: Cluster, broker: Broker) -> None:
    """Without it nothing is taken away, neither can be; registered again, it all can be."""
    provision(namespace)
    uri = bind(namespace)["uri"]
    namespace.kubectl("delete", "clusterservicebroker", BROKER, "--timeout=60s")
    try:
        assert not namespace.names("clusterserviceclasses")
        namespace.kubectl("delete", "servicebinding", BINDING, "--wait=false")
        namespace.wait(
            f"servicebinding/{BINDING}",
            'jsonpath={.status.conditions[?(@.type=="Ready")].reason}='
            "ReferencesNonexistentServiceClass",
        )
        with psycopg.connect(uri) as connection:
            connection.execute("SELECT 1")
    finally:
        register(namespace, broker)
    namespace.wait(f"servicebinding/{BINDING}", "delete", seconds=120)
    namespace.kubectl("delete", "serviceinstance", INSTANCE, "--timeout=120s")
