"""A node beside the control plane, so that real pods run: ``make e2e-node``, as root, on Linux.

Belongs here: making images without a registry, and what runs pods. Nothing listens on an address
that another machine could reach: the node's is on a bridge without a port.
"""
