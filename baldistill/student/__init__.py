"""The student: its fine-tuning, its answers and the scores of candidates."""
