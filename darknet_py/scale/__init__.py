"""Batch inference over any number of pictures, in parts, by any number of processes."""
from darknet_py.scale.actor import DetectorActor

__all__ = ["DetectorActor"]
