"""Moves data from the candle stream through `core` to the published market states."""
