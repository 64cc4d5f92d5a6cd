"""`marketstate history`: the states of recordings and candle files, without Redis, as a file."""
