"""Keep teachers' answers on disk."""
