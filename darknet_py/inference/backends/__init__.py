"""Runtimes that a network runs on, one file each."""
