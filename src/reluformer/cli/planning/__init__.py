"""What an experiment will cost, before anyone spends it."""
