"""What goes over the wire: candles that come in, market states that go out."""
