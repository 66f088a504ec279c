"""What the command line and the Python API call."""
