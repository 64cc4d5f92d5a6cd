"""What goes over the wire: candles in, market states out."""
