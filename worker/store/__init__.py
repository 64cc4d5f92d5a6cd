"""All that speaks to Redis as such: the connection, the scripts, entries as they are sent."""
