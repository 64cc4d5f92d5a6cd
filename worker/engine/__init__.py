"""The way of a candle: fetch, advance, commit, and the shards it is done for."""
