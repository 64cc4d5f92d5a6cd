"""`marketstate gather`: brings the candles of many streams into the one that workers read."""
