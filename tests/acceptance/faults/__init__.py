"""Faults, injected into the real program: what a client was told stays true."""
