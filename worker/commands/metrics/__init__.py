"""`marketstate metrics`: what `status` and more says, once, in the text format of Prometheus."""
