"""The method of the paper: balance, select, annotate, fine-tune and evaluate, stage by stage."""
