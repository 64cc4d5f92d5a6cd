"""How candles are processed: fetch, advance, commit, and the shards that this worker holds."""
