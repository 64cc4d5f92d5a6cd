"""`marketstate record`: writes the entries of a stream, or of all partitions, to a file."""
