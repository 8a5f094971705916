"""Training: schedule, optimiser, one step, and the run."""
