"""Show a person what a run at work is doing."""
