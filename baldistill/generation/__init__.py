"""Generation: prompts in, text and token log-probabilities out, by any engine."""
