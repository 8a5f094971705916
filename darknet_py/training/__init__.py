"""Training: schedule, optimiser, training step, checkpoints, the run, its report, and tuning."""
