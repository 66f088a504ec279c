"""The page and the pictures of a run, from its artifacts alone: no ray, no torch."""
