"""`marketstate warm`: puts the closes of candle files into windows, before workers need them."""
