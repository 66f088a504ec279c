"""Own what a run leaves on its storage, and every path of that contract."""
