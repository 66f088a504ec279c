"""The teacher: rationales for real examples, new examples for the tail, and what they cost."""
