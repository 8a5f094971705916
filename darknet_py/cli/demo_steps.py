"""Flags of ``demo`` for what happens to a frame's detections between the network and the consumers."""
from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from darknet_py.inference.detector import Detector
    from darknet_py.live.results import Step
    from darknet_py.live.session import Sink
    from darknet_py.live.sources import Source

DEFAULTS: dict[str, Any] = {}           # the flags of add_flags, and what they are where they are not given


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags; None where they are not given, see ``DEFAULTS``."""


def open_steps(arguments: argparse.Namespace, detector: Detector, source: Source) -> tuple[list[Step], list[Sink]]:
    """The steps that the flags name for the frames of a source, in their order; and the consumers of what they find."""
    steps: list[Step] = []
    sinks: list[Sink] = []
    return steps, sinks
