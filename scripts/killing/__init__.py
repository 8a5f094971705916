"""The parts of kill_test.py: operations on files, commands that are killed, checks of what they leave."""
