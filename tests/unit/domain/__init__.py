"""The domain's vocabulary and decisions."""
