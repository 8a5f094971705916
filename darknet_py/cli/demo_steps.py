"""What flags of ``demo`` do with a frame's detections between the network and the consumers."""
from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from darknet_py.cli import demo_tracking, detect

if TYPE_CHECKING:
    from darknet_py.inference.detector import Detector
    from darknet_py.live.results import Step
    from darknet_py.live.session import Sink
    from darknet_py.live.sources import Source


def open_steps(arguments: argparse.Namespace, detector: Detector, source: Source) -> tuple[list[Step], list[Sink]]:
    """The steps that the flags name for the frames of a source, in their order; and the consumers of what they find."""
    from darknet_py.live.objects import LabelFiles
    choose, crops = detect.open_objects(arguments, detector)
    steps: list[Step] = [] if choose is None else [choose]
    sinks: list[Sink] = [] if crops is None else [crops]
    if arguments.save_labels:
        sinks.append(LabelFiles(arguments.prefix))
    tracking, counts = demo_tracking.open_steps(arguments, detector, source)
    return [*steps, *tracking], [*sinks, *counts]
