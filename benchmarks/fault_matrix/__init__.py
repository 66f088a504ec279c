"""What `benchmarks/faults.py` does: runs under faults, watched by a server that counts."""
