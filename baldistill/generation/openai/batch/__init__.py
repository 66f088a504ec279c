"""The Batch API of an OpenAI-compatible server."""
