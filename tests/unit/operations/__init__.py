"""What operations mean for the state."""
