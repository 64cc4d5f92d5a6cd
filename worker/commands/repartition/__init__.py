"""`marketstate repartition`: moves what a group keeps of its symbols to other partitions."""
