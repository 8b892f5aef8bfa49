"""Tasks, one file each: what an answer is, how it is scored, which costs a mistake has."""
