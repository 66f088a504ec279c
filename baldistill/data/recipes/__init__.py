"""Recipes for the corpora of the paper (arXiv 2406.13114, section 4)."""
