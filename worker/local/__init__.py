"""Processes of one's own: a Redis server, workers."""
