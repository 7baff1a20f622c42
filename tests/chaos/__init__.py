"""Random faults against random work, and the invariant at the end: `make chaos`."""
