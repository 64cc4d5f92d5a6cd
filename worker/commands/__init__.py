"""A file, or a folder, for each `marketstate COMMAND`."""
