"""What teachers answered, on disk."""
