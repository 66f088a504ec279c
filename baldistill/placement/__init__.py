"""Who gets which CPUs and GPUs of the cluster."""
