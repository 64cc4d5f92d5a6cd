"""One file or folder for each `marketstate COMMAND`."""
