"""Decide which processes of a run get which CPUs and GPUs of the cluster."""
