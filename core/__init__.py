"""The calculation: market state from a window of close prices, and nothing else."""
