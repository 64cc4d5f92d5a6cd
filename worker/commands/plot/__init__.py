"""`marketstate plot`: plots price, regime and metrics to a file."""
