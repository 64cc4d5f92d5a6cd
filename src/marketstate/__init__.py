"""Market states of closed candles: `core` calculates, `schemas` describes, `worker` moves data."""
