"""`marketstate replay`: feeds recordings and candle files, separate from the live system."""
