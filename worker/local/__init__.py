"""Local child processes: a Redis server, workers."""
