"""`marketstate plot`: price, regime and metrics drawn into a file."""
