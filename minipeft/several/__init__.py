"""Several adapters at once: a batch that mixes them, and weighted sums."""
