"""Access to Redis: the connection, the scripts, and raw stream entries."""
