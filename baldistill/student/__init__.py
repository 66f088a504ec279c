"""The student: its responses and their scores, its fine-tuning, its evaluation."""
