"""Reading and writing files: candles, prices, recordings."""
