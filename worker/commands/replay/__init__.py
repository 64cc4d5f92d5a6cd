"""`marketstate replay`: recordings and candle files fed again, beside the live system."""
