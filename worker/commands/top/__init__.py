"""`marketstate top`: all markets live, in the terminal."""
