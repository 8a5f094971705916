"""Find objects in a video, a camera, a network stream, or pictures one after another.

SOURCE is a video file; a picture, a folder of pictures, a pattern or a list (.txt) of them; an URL such as
rtsp://HOST/PATH; or the number of a camera. Of a file every frame is detected in; of a camera or a stream always the
newest. Prints what Darknet prints of each frame. Ctrl-C, SIGTERM and -time_limit_sec end it, with all files whole.
"""
from __future__ import annotations

import argparse
import math
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import combinations
from typing import TYPE_CHECKING

from darknet_py.cli import demo_steps, demo_tracking, detect
from darknet_py.cli.output import say
from darknet_py.cli.train import stop_signals

if TYPE_CHECKING:
    from darknet_py.inference.detections import Detection, Detections
    from darknet_py.live.results import Rates, Result
    from darknet_py.live.session import Sink, Sinks
    from darknet_py.live.sources import Source

CLEAR = "\033[H\033[J"          # C clears the terminal before each frame
# the flags of add_flags, and what they are where they are not given
DEFAULTS = {"c": 0, "s": 0, "avgframes": 1, "prefix": None, "out_filename": None, "json_file_output": None,
            "json_port": -1, "mjpeg_port": -1, "http_post_host": None, "time_limit_sec": 0., "benchmark": False,
            "bind": "0.0.0.0", "codec": None, "loop": False, **demo_steps.DEFAULTS}
OF_PICTURES = {"out": "-json_file_output FILE", "pictures": "-prefix PATH or -out_filename VIDEO"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("cfg", help="the network, a .cfg file")
    parser.add_argument("weights", help="its .weights file")
    parser.add_argument("images", nargs="*", metavar="SOURCE", help="what to detect in (default: the camera of -c)")
    parser.add_argument("--data", help="a .data file, for its names")
    detect.add_detector_flags(parser, thresh=.25)
    add_flags(parser)


prepared = demo_tracking.prepared


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of ``demo`` alone; None where they are not given, see ``DEFAULTS``."""
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
    demo_steps.add_flags(parser)


def refuse(arguments: argparse.Namespace) -> None:
    """Refuse the flags of ``demo`` for what else takes its parser; ``train`` has -mjpeg_port and -bind too."""
    from darknet_py.errors import DarknetError
    taken = ("mjpeg_port", "bind") if arguments.action == "train" else ()
    for name in DEFAULTS:
        if getattr(arguments, name) is not None and name not in taken:
            raise DarknetError(f"detector {arguments.action} does not take -{name}, which detector demo does")


def run(arguments: argparse.Namespace) -> int:
    from darknet_py.errors import DarknetError
    from darknet_py.live.averaging import MOST_AVERAGED
    from darknet_py.live.sources import MOST_CAMERAS
    for name, other in OF_PICTURES.items():
        if getattr(arguments, name, None):
            raise DarknetError(f"demo does not take -{name}" + (f", but {other}" if other else ""))
    if len(arguments.images) > 1:
        raise DarknetError(f"demo takes one SOURCE, found {arguments.images[1]} after {arguments.images[0]}")
    for name, value in DEFAULTS.items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, value)
    for name, least, most in (("c", 0, MOST_CAMERAS), ("s", 0, math.inf), ("avgframes", 1, MOST_AVERAGED),
                              ("time_limit_sec", 0, sys.float_info.max)):
        if not least <= getattr(arguments, name) <= most:
            bounds = f"from {least} to {most}" if isinstance(most, int) else f"from {least} on"
            raise DarknetError(f"-{name} needs a number {bounds}, found {getattr(arguments, name)}")
    if arguments.save_labels and arguments.prefix is None:
        raise DarknetError("demo -save_labels needs -prefix PATH, whose pictures the label files stand beside")
    if arguments.codec is not None and arguments.out_filename is None:
        raise DarknetError("-codec needs -out_filename VIDEO")
    with ExitStack() as stack:
        return _Run(arguments, stack).run()


class _Run:
    """A run: what it opens, which the stack closes, and what it prints."""

    def __init__(self, arguments: argparse.Namespace, stack: ExitStack):
        from darknet_py.cli.progress import Progress
        from darknet_py.live.session import Sinks
        from darknet_py.live.sources import open_source
        from darknet_py.live.window import Window, has_window
        self.arguments, self.stack = arguments, stack
        given = arguments.images[0] if arguments.images else arguments.c
        say(f"video file: {given}" if arguments.images else f"Webcam index: {given}")
        self.source: Source = open_source(given, loop=arguments.loop, report=self.report)
        stack.callback(self.source.close)
        self.terminal = sys.stdout.isatty()
        self.progress = Progress(self.source.total, sys.stderr, lines=sys.stdout)
        stack.enter_context(self.progress)
        hidden = arguments.dont_show or arguments.benchmark or arguments.prefix is not None
        self.window = Window(arguments.s) if not hidden and has_window() else None
        if self.window is not None:
            stack.callback(self.window.close)
        self.hidden, self.shown = hidden, 0
        self.sinks: Sinks = stack.enter_context(Sinks(most=1 if self.source.live else 2))
        for sink in self.open_sinks():
            self.sinks.add(sink)
        self.sent = ((" MJPEG-stream sent. \n" if arguments.mjpeg_port > 0 else "")
                     + ("\n cvWriteFrame \n" if arguments.out_filename is not None else ""))

    def report(self, line: str) -> None:
        self.progress.print(line, error=True)

    def open_sinks(self) -> Iterator[Sink]:
        """The consumers of results that the flags name. Servers first: a client sees a frame before it is written."""
        from darknet_py.live.files import JsonFile, PictureFiles
        from darknet_py.live.http_forms import JSON_FORMS, MJPEG_FORMS, JsonArray, Mjpeg
        from darknet_py.live.http_post import HttpPost
        from darknet_py.live.http_streams import StreamServer
        from darknet_py.live.video import VideoWriter
        arguments, source = self.arguments, self.source
        check_outputs(arguments)
        for port, form, forms in ((arguments.json_port, JsonArray(), JSON_FORMS),
                                  (arguments.mjpeg_port, Mjpeg(), MJPEG_FORMS)):
            if port > 0:
                yield StreamServer(port, form, forms, arguments.bind)
        if arguments.http_post_host is not None:
            yield HttpPost(arguments.http_post_host, source.name, arguments.time_limit_sec > 0, self.report)
        if arguments.json_file_output is not None:
            yield JsonFile(arguments.json_file_output)
        if arguments.prefix is not None:
            yield PictureFiles(arguments.prefix)
        if arguments.out_filename is not None:
            yield VideoWriter(arguments.out_filename, source.rate, source.live, arguments.codec)

    def run(self) -> int:
        from darknet_py.errors import DataError
        from darknet_py.live.averaging import AveragingBackend
        from darknet_py.live.results import Rates
        from darknet_py.live.session import Stopper, detect_frames
        arguments, failed = self.arguments, 0
        detector = detect.make_detector(arguments, self.source.total)
        if arguments.avgframes > 1:
            detector.backend = AveragingBackend(detector.backend, arguments.avgframes)
        self.layers = None
        if arguments.benchmark_layers:
            from darknet_py.cli.profile import LayerReport
            self.layers = LayerReport(detector.network)
        steps, sinks = demo_steps.open_steps(arguments, detector, self.source)
        for sink in sinks:
            self.sinks.add(sink)
        self.hint()
        rates, window = Rates(time.monotonic), self.window
        draw = not (arguments.dontdraw_bbox or arguments.benchmark)
        with caught_signals() as signals:
            stop = Stopper(arguments.time_limit_sec, signals)
            for result in detect_frames(detector, self.source, stop, draw=draw, skip=self.skip,
                                        still=arguments.benchmark, overlapped=self.layers is None, steps=steps):
                if isinstance(result, DataError):
                    self.report(f"darknet-py: {result}")
                    failed = 1
                    continue
                self.sinks.write(result)
                if window is not None:
                    window.show(result.picture.drawn)
                    if window.closed:
                        stop.stop()
                self.show(result, rates)
            self.progress.print("input video stream closed. ")
            self.sinks.close()
            if arguments.out_filename is not None:
                self.progress.print("output_video_writer closed. ")
        return 130 if signals else failed

    def skip(self) -> int:
        """Frames that are skipped now."""
        return self.arguments.s if self.window is None else self.window.skip

    def show(self, result: Result, rates: Rates) -> None:
        """Print what C prints of a frame, and draw the live line."""
        arguments, first = self.arguments, result.number == 1
        if self.layers is not None:
            for line in self.layers.lines():
                self.progress.print(line)
        height, width = result.detections.image_size
        text = f"Video stream: {width} x {height} \n" if first else ""
        text += (CLEAR if self.terminal else "") + "Objects:\n\n"
        text += " JSON-stream sent. \n" if arguments.json_port > 0 else ""
        if not arguments.benchmark:
            text += "".join(lines(result.detections, arguments.ext_output))
        text += f"\nFPS:{rates.fps:.1f} \t AVG_FPS:{rates.average:.1f}\n{self.sent}"
        self.progress.print(text.removesuffix("\n"))
        self.shown += 1
        if self.shown > self.skip():
            rates.tick()
            self.shown = 0
        self.progress.update(result.number, state(result, self.source, rates.fps))

    def hint(self) -> None:
        """Say where the pictures can be seen, if there is no window."""
        if self.hidden or self.window is not None:
            return
        if self.arguments.mjpeg_port > 0:
            import socket
            host = socket.gethostname() if self.arguments.bind in ("0.0.0.0", "::") else self.arguments.bind
            self.report(f"no window can be opened here; see http://{host}:{self.arguments.mjpeg_port}/")
        else:
            self.report("no window can be opened here: -mjpeg_port 8090 shows the video in a browser, -out_filename "
                        "out.mp4 writes it; -dont_show leaves out this line")


def check_outputs(arguments: argparse.Namespace) -> None:
    """Refuse to write over the source, or two files into one."""
    from darknet_py.errors import DarknetError
    names = [(flag, name) for flag in ("out_filename", "json_file_output", "counts")
             if (name := getattr(arguments, flag))]
    for flag, name in names:
        for other in arguments.images:
            if os.path.exists(name) and os.path.exists(other) and os.path.samefile(name, other):
                raise DarknetError(f"-{flag} {name} is the source itself")
    for (flag, name), (other, again) in combinations(names, 2):
        if os.path.realpath(name) == os.path.realpath(again):
            raise DarknetError(f"-{flag} and -{other} are the same file, {name}")


@contextmanager
def caught_signals() -> Iterator[list[int]]:
    """See ``stop_signals``; afterwards the signals do what they did before."""
    before = {number: signal.getsignal(number) for name in ("SIGINT", "SIGTERM", "SIGHUP")
              if (number := getattr(signal, name, None)) is not None}
    try:
        yield stop_signals()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def state(result: Result, source: Source, fps: float) -> str:
    """The end of the live line: rate, latency and dropped frames of a live source, objects by class."""
    parts = [f"{fps:.1f} FPS"]
    if source.live:
        parts += [f"latency {1000 * (time.monotonic() - result.taken):.0f} ms", f"{source.dropped} dropped"]
    counts = Counter(detection.name for detection in result.detections)
    return ", ".join(parts + [f"{name} {count}" for name, count in counts.most_common()])


def lines(detections: Detections, ext_output: bool) -> Iterator[str]:
    """C's printout of a frame: a line a box in its order, with all its classes.

    Darknet: draw_detections_cv_v3, without the similarity behind a track.
    """
    from darknet_py.errors import printable
    boxes: dict[tuple[float, ...], list[Detection]] = {}
    tracks: dict[tuple[float, ...], int] = {}
    for index, detection in zip(detections.order, detections.in_order(), strict=True):
        box = tuple(detection.box.tolist())
        boxes.setdefault(box, []).append(detection)
        tracks[box] = 0 if detections.ids is None else int(detections.ids[index])
    height, width = detections.image_size
    for (left, top, right, bottom), found in boxes.items():
        texts = [f"{printable(one.name)}: {one.score * 100:.0f}% " for one in found]
        texts[0] += f"(track = {track}) " if (track := tracks[left, top, right, bottom]) else ""
        classes = ", ".join(texts)
        place = ""
        if ext_output:
            wide, high = min((right - left) / width, 1.), min((bottom - top) / height, 1.)
            x, y = min((left + right) / 2 / width, 1.), min((top + bottom) / 2 / height, 1.)
            place = (f"\t(left_x: {max(0, int((x - wide / 2) * width)):4.0f}   top_y: "
                     f"{max(0, int((y - high / 2) * height)):4.0f}   width: {wide * width:4.0f}   "
                     f"height: {high * height:4.0f})")
        yield f"{classes}{place}\n"
