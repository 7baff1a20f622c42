"""A real Kubernetes control plane with Service Catalog, as processes of this machine.

Belongs here: where the programs come from, starting and stopping them, and talking to the result
with the same tools as a user, kubectl and helm. Everything listens on loopback only, and nothing
knows of the broker.
"""
