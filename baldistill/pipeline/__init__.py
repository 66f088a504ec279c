"""The method as a program: stages of artifacts."""
