"""What tests of several tiers need."""
