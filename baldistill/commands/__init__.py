"""Functions that the command line and the Python API call."""
