"""Inference: preprocess, run on a backend, post-process."""
