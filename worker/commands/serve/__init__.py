"""`marketstate serve`: metrics, health and the live page of all markets, over HTTP; read-only."""
