"""The corpus: read, validate, quarantine, normalise, split, on Ray Data."""
