"""The flags of ``demo``, and what they may be."""
from __future__ import annotations

import argparse
import math
import os
import sys

from darknet_py.cli import demo_tracking

MOST_SOURCES = 64               # each has threads of its own
# the flags of add_flags, and what they are where they are not given
DEFAULTS = {"c": 0, "s": 0, "avgframes": 1, "prefix": None, "out_filename": None, "json_file_output": None,
            "json_port": -1, "mjpeg_port": -1, "http_post_host": None, "time_limit_sec": 0., "benchmark": False,
            "bind": "0.0.0.0", "codec": None, "loop": False, **demo_tracking.DEFAULTS}


def add_flags(parser: argparse.ArgumentParser, steps: bool = True) -> None:
    """The flags of ``demo`` alone; None where they are not given, see ``DEFAULTS``. steps: those of detections too."""
    group = parser.add_argument_group("demo")
    group.add_argument("--c", type=int, metavar="N", help="the camera, where there is no SOURCE (default 0)")
    group.add_argument("--s", type=int, metavar="N", help="frames whose pictures are skipped after each that is shown; "
                       "the one before stays (default 0)")
    group.add_argument("--avgframes", type=int, metavar="N", help="average the network's outputs over N frames "
                       "(default: none, which is what Darknet's default of 3 does)")
    group.add_argument("--out-filename", metavar="VIDEO", help="write a video with the boxes: .mp4 .m4v .mov .mkv .avi")
    group.add_argument("--codec", metavar="FOUR", help="of that video, in four letters (default: H.264 where it can be "
                       "written, else MPEG-4)")
    group.add_argument("--prefix", metavar="PATH", help="write PATH_00000001.jpg and so on")
    group.add_argument("--json-file-output", metavar="FILE", help="write the detections of all frames as JSON")
    group.add_argument("--json-port", type=int, metavar="PORT", help="serve the detections as JSON over HTTP: / as "
                       "Darknet does, /ndjson, /events")
    group.add_argument("--mjpeg-port", type=int, metavar="PORT", help="serve the pictures over HTTP: / as MJPEG, as "
                       "Darknet does, /snapshot.jpg")
    group.add_argument("--bind", metavar="ADDRESS", help="the address of these ports; 127.0.0.1 for this machine alone "
                       "(default 0.0.0.0: all, as in Darknet)")
    group.add_argument("--http-post-host", metavar="HOST/PATH", help="post the objects of frames that have some; with "
                       "-time_limit_sec once")
    group.add_argument("--time-limit-sec", type=float, metavar="SECONDS", help="end after that time (default 0: never)")
    group.add_argument("--loop", action="store_true", default=None, help="begin files and pictures again at their end")
    group.add_argument("--benchmark", action="store_true", default=None, help="detect in the first frame over and "
                       "over, without decoding, drawing or a window")
    if steps:
        demo_tracking.add_flags(parser)


def check(arguments: argparse.Namespace) -> None:
    """Put the defaults in, and refuse values out of their bounds."""
    from darknet_py.errors import DarknetError
    from darknet_py.live.averaging import MOST_AVERAGED
    from darknet_py.live.sources import MOST_CAMERAS
    for name, value in DEFAULTS.items():
        if getattr(arguments, name, None) is None:
            setattr(arguments, name, value)
    for name, least, most in (("c", 0, MOST_CAMERAS), ("s", 0, math.inf), ("avgframes", 1, MOST_AVERAGED),
                              ("time_limit_sec", 0, sys.float_info.max)):
        if not least <= getattr(arguments, name) <= most:
            bounds = f"from {least} to {most}" if isinstance(most, int) else f"from {least} on"
            raise DarknetError(f"-{name} needs a number {bounds}, found {getattr(arguments, name)}")
    if getattr(arguments, "save_labels", False) and arguments.prefix is None:
        raise DarknetError("demo -save_labels needs -prefix PATH, whose pictures the label files stand beside")
    if arguments.codec is not None and arguments.out_filename is None:
        raise DarknetError("-codec needs -out_filename VIDEO")
    if len(arguments.images) > 1:
        check_several(arguments)


def check_several(arguments: argparse.Namespace) -> None:
    """Refuse what several sources cannot have."""
    from darknet_py.data.datafile import EXTENSIONS
    from darknet_py.errors import DarknetError
    given = arguments.images
    if len(given) > MOST_SOURCES:
        raise DarknetError(f"demo takes up to {MOST_SOURCES} sources, found {len(given)}")
    if all(os.path.splitext(one)[1].lower() in EXTENSIONS for one in given):
        raise DarknetError(f"found {len(given)} pictures, expected one SOURCE: their folder, a list (.txt) of them, or "
                           "a pattern in quotes, such as 'frames/*.png'")
    for flag, used in (("avgframes", arguments.avgframes > 1), ("benchmark", arguments.benchmark)):
        if used:
            raise DarknetError(f"-{flag} needs one SOURCE, found {len(given)}")
