"""Darknet's verbs on weights, filters, and nightmare."""
