"""Deleted instances whose data is kept: through the protocol, and for an operator."""
