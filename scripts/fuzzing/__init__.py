"""Parts of fuzz.py: the readers, valid inputs for them, mutation, judging, and the engines."""
