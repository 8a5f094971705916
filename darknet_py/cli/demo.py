"""Find objects in a video, a camera, a network stream, or pictures one after another.

SOURCE is a video file; a picture, a folder of pictures, a pattern or a list (.txt) of them; an URL such as
rtsp://HOST/PATH; or the number of a camera. Of a file every frame is detected in; of a camera or a stream always the
newest. Several sources share the network, and take turns. Prints what Darknet prints of each frame. Ctrl-C, SIGTERM and
-time_limit_sec end it, with all files whole.
"""
from __future__ import annotations

import argparse
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from darknet_py.cli import demo_flags, demo_outputs, demo_steps, demo_tracking, detect, model
from darknet_py.cli.output import say
from darknet_py.cli.train import stop_signals
from darknet_py.errors import printable

if TYPE_CHECKING:
    from darknet_py.cli.profile import LayerReport
    from darknet_py.errors import DataError
    from darknet_py.inference.classifier import Classifier
    from darknet_py.inference.detections import Detection, Detections
    from darknet_py.inference.detector import Detector
    from darknet_py.live.results import Rates, Result
    from darknet_py.live.session import Sinks
    from darknet_py.live.sources import Source

CLEAR = "\033[H\033[J"          # C clears the terminal before each frame


def add_arguments(parser: argparse.ArgumentParser) -> None:
    model.add_arguments(parser)
    parser.add_argument("images", nargs="*", metavar="SOURCE", help="what to detect in (default: the camera of -c); of "
                        "several each has its own files, boxes_0.mp4 and so on, and ports, one after another")
    parser.add_argument("--data", help="a .data file, for its names")
    detect.add_detector_flags(parser, thresh=.25)
    demo_flags.add_flags(parser)


prepared = demo_tracking.prepared


def run(arguments: argparse.Namespace) -> int:
    demo_flags.check(arguments)
    with ExitStack() as stack:
        return Run(arguments, stack).run()


class View:
    """A source, what is opened for its results, and what is shown of them.

    Args:
        number: its place among several sources; None where it is the only one.
        arguments: the flags, with its own names of files and ports.
    """

    def __init__(self, run: Run, source: Source, number: int | None, arguments: argparse.Namespace):
        from darknet_py.live.session import Feed, Sinks
        from darknet_py.live.window import Window
        self.source, self.arguments = source, arguments
        self.place = "" if number is None else f"Source {number}: {printable(source.name)} \n"
        self.window = Window(arguments.s, number) if run.windows else None
        if self.window is not None:
            run.stack.callback(self.window.close)
        self.sinks: Sinks = run.stack.enter_context(Sinks(most=1 if source.live else 2))
        self.feed = Feed(source, skip=self.skip)
        if number is not None:
            self.feed.steps = [self.name_source]
        self.rates: Rates                       # from when the network is loaded
        self.since, self.text, self.state, self.closed = 0, "", "", False

    def skip(self) -> int:
        """Frames that are skipped now."""
        return self.arguments.s if self.window is None else self.window.skip

    def name_source(self, result: Result) -> None:
        result.fields["source"] = self.source.name

    def tick(self, seconds: float | None = None) -> None:
        """A frame was printed; those of which no picture is shown do not count. seconds: see ``Rates.tick``."""
        self.since += 1
        if self.since > self.skip():
            self.rates.tick(seconds)
            self.since = 0


class Run:
    """A run: what it opens, which the stack closes, and what it prints."""

    def __init__(self, arguments: argparse.Namespace, stack: ExitStack):
        from darknet_py.cli.progress import Progress
        from darknet_py.errors import DarknetError
        from darknet_py.viz.display import has_window
        self.arguments, self.stack, self.failed = arguments, stack, 0
        self.progress = Progress(0, sys.stderr, lines=sys.stdout)
        model.check_found(arguments.cfg)                # before a camera is
        given = arguments.images if arguments.images else [arguments.c]
        for one in given:
            say(f"video file: {one}" if arguments.images else f"Webcam index: {one}")
        sources = self.open_sources(given)
        self.terminal = sys.stdout.isatty()
        totals = [source.total for source in sources.values()]
        self.progress = Progress(sum(totals) if all(totals) else 0, sys.stderr, lines=sys.stdout)
        stack.enter_context(self.progress)
        self.hidden = arguments.dont_show or arguments.benchmark or arguments.prefix is not None
        self.windows = not self.hidden and has_window()
        if len(given) == 1:
            outputs = {0: arguments}
        else:
            outputs = {number: demo_outputs.of_source(arguments, number) for number in range(len(given))}
        demo_outputs.check_outputs(list(outputs.values()), arguments.images)
        self.views = [View(self, source, number if len(given) > 1 else None, outputs[number])
                      for number, source in sources.items()]
        for view in self.views:
            for sink in demo_outputs.open_sinks(view.arguments, view.source, self.report):
                view.sinks.add(sink)
        if not self.views:
            raise DarknetError("none of the sources can be opened")
        self.sent = ((" MJPEG-stream sent. \n" if arguments.mjpeg_port > 0 else "")
                     + ("\n cvWriteFrame \n" if arguments.out_filename is not None else ""))
        self.layers: LayerReport | None = None

    def report(self, line: str) -> None:
        self.progress.print(line, error=True)

    def open_sources(self, given: Sequence[str | int]) -> dict[int, Source]:
        """The sources by their places. All are opened at once; of several those that cannot be are reported."""
        from concurrent.futures import ThreadPoolExecutor

        from darknet_py.errors import DataError
        from darknet_py.live.sources import open_source
        found: dict[int, Source] = {}
        with ThreadPoolExecutor(len(given)) as pool:
            opening = [pool.submit(open_source, one, loop=self.arguments.loop, report=self.report) for one in given]
        for number, one in enumerate(opening):
            try:
                found[number] = one.result()
                self.stack.callback(found[number].close)
            except DataError as error:
                if len(given) == 1:
                    raise
                self.report(f"darknet-py: {error}")
                self.failed = 1
        return found

    def open_network(self, images: int) -> Detector | Classifier:
        """The network for so many images, 0 where it is not known; and what happens to the results of each source."""
        arguments = self.arguments
        detector = detect.make_detector(arguments, images)
        if arguments.avgframes > 1:
            from darknet_py.live.averaging import AveragingBackend
            detector.backend = AveragingBackend(detector.backend, arguments.avgframes)
        for view in self.views:
            steps, sinks = demo_steps.open_steps(view.arguments, detector, view.source)
            view.feed.steps = [*view.feed.steps, *steps]
            for sink in sinks:
                view.sinks.add(sink)
        return detector

    def run(self) -> int:
        from darknet_py.errors import DarknetError, DataError
        from darknet_py.live.results import Rates
        from darknet_py.live.session import Ended, Stopper, detect_in_feeds
        arguments, totals = self.arguments, [view.source.total for view in self.views]
        network = self.open_network(sum(totals) if all(totals) else 0)
        if len(arguments.images) > 1 and any(layer.stateful for layer in network.outline.layers):
            raise DarknetError("this network remembers the frames before, so it needs one SOURCE, found "
                               f"{len(arguments.images)}")
        if arguments.benchmark_layers:
            from darknet_py.cli.profile import LayerReport
            self.layers = LayerReport(network.network)
        network.backend.leave_cores()
        self.hint()
        for view in self.views:
            view.rates = Rates(time.monotonic)
        # on a CPU a batch takes as long as its frames one by one
        most = len(self.views) if network.backend.device.type == "cuda" and self.layers is None else 1
        views = {view.feed: view for view in self.views}
        with caught_signals() as signals:
            stop = Stopper(arguments.time_limit_sec, signals)
            for feed, result in detect_in_feeds(network, list(views), stop, most=most, still=arguments.benchmark,
                                                draw=not (arguments.dontdraw_bbox or arguments.benchmark),
                                                overlapped=self.layers is None):
                view = views[feed]
                if isinstance(result, Ended):
                    if result.error is not None and len(arguments.images) <= 1:
                        raise result.error
                    self.close(view, result.error)
                elif isinstance(result, DataError):
                    self.fail(result)
                else:
                    view.sinks.write(result)
                    if view.window is not None:
                        view.window.show(result.picture.drawn)
                        if view.window.closed:
                            stop.stop()
                    self.show(view, result)
            for view in self.views:
                self.close(view)
        return 130 if signals else self.failed

    def fail(self, error: DataError) -> None:
        self.report(f"darknet-py: {error}")
        self.failed = 1

    def close(self, view: View, error: DataError | None = None) -> None:
        """Say that a source has ended, and finish what was written of it."""
        if view.closed:
            return
        if error is not None:
            self.fail(error)
        view.closed = True
        self.progress.print(f"{view.place}input video stream closed. ")
        view.sinks.close()
        if self.arguments.out_filename is not None:
            self.progress.print("output_video_writer closed. ")

    def show(self, view: View, result: Result) -> None:
        """Print what C prints of a frame, and draw the live line."""
        for line in () if self.layers is None else self.layers.lines():
            self.progress.print(line)
        view.text = view.place + self.text(view, result)
        # C clears the terminal before each frame; of several sources the latest of each is to be seen
        shown = CLEAR + "\n".join(one.text for one in self.views) if self.terminal else view.text
        if result.number == 1:
            height, width = result.detections.image_size
            shown = f"{view.place}Video stream: {width} x {height} \n{shown}"
        self.progress.print(shown.removesuffix("\n"))
        self.tick(view, result)
        view.state = state(result, view.source, view.rates.fps)
        states = [view.state] if not view.place else [f"{number}: {one.state}" for number, one in enumerate(self.views)]
        self.progress.update(sum(one.feed.count for one in self.views), " | ".join(states))

    def text(self, view: View, result: Result) -> str:
        """What C prints of a frame."""
        text = "Objects:\n\n" + (" JSON-stream sent. \n" if self.arguments.json_port > 0 else "")
        if not self.arguments.benchmark:
            text += "".join(lines(result.detections, self.arguments.ext_output))
        return f"{text}\nFPS:{view.rates.fps:.1f} \t AVG_FPS:{view.rates.average:.1f}\n{self.sent}"

    def tick(self, view: View, result: Result) -> None:
        view.tick()

    def hint(self) -> None:
        """Say where the pictures can be seen, if there is no window."""
        if self.hidden or self.windows:
            return
        if self.arguments.mjpeg_port > 0:
            self.report("no window can be opened here; see " + demo_outputs.pages([v.arguments for v in self.views]))
        else:
            self.report("no window can be opened here: -mjpeg_port 8090 shows the video in a browser, -out_filename "
                        "out.mp4 writes it; -dont_show leaves out this line")


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
    if result.prediction is not None:
        return ", ".join([*parts, *(f"{best.name} {best.score:.0%}" for best in result.prediction.top())])
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
