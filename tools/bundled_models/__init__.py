"""Build the tokenizer, teacher and student that lie in `baldistill/bundled`."""
