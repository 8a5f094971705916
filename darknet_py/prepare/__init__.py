"""Preparing a data set: reading and merging sources, splitting, statistics, and writing it in a format."""
