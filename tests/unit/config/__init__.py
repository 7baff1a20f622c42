"""Configuration and the catalog: what is accepted, and what every refusal says."""
