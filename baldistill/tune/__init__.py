"""Sweeps over configs with Ray Tune: spaces, trials, and what came of them."""
