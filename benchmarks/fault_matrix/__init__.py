"""Parts of `benchmarks/faults.py`: runs under faults, watched by a server that counts."""
