"""Evaluation of networks on data sets."""
