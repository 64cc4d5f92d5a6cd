"""The calculation: the market state of a window of close prices, and nothing else."""
