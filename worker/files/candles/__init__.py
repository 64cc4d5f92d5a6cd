"""Candle files: one reader, with the same checks for every command that reads them."""
