"""The method as pure functions: numpy, pyarrow and the standard library only.

Nothing in here imports ray or torch, reads a file or opens a connection, so every claim of the
paper that is arithmetic can be read and tested on its own.
"""
