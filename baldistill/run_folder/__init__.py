"""What a run leaves on its storage: one owner for every path of the contract."""
