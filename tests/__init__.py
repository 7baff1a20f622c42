"""Every test of pgbroker, in tiers: unit, integration, acceptance."""
