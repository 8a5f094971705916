"""Flags of ``demo`` for tracked objects: their ids, counts in zones and across lines, smoothing."""
from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from darknet_py.cli.output import say

if TYPE_CHECKING:
    from darknet_py.inference.detector import Detector
    from darknet_py.live.counting import CountsFile
    from darknet_py.live.embedding_tracker import EmbeddingOptions
    from darknet_py.live.results import Step
    from darknet_py.live.sources import Source

AUTO, BYTETRACK, EMBEDDING = KINDS = ("auto", "bytetrack", "embedding")
OF_EMBEDDINGS = ("sim_thresh", "track_history_size", "dets_for_track", "dets_for_show", "track_ciou_norm")
DEFAULTS: dict[str, Any] = {"track": None, **dict.fromkeys(OF_EMBEDDINGS), "zone": None, "line": None, "anchor": None,
                            "counts": None, "smooth": 0}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags; None where they are not given, see ``DEFAULTS``."""
    group = parser.add_argument_group("demo: tracked objects")
    group.add_argument("--track", metavar="KIND", choices=KINDS, help="number the objects: bytetrack (by their boxes), "
                       "embedding (Darknet's, for networks with embedding_layer=); without KIND the second where the "
                       "network has embeddings, else the first")
    for name, kind, text in zip(OF_EMBEDDINGS, (float, int, int, int, float), (
            "similarity that a match must exceed", "frames in which an object is looked for", "matches that an object "
            "must exceed for a number", "matches that it must reach to be shown", "share of the boxes' overlap in the "
            "similarity"), strict=True):
        group.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar="N", help=f"of -track embedding: {text} "
                           "(default: the cfg's)")
    group.add_argument("--zone", action="append", metavar="POINTS", help='count objects in this polygon: "x,y x,y x,y '
                       '...", or "NAME=x,y ..."; in pixels, or in parts of the picture if all are up to 1; may be '
                       "repeated")
    group.add_argument("--line", action="append", metavar="POINTS", help='count objects that cross this line, "x,y x,y"'
                       ' or "NAME=x,y x,y": in from its left to its right, seen from the first point; may be repeated')
    group.add_argument("--anchor", choices=("bottom", "centre"), help="the point of a box that counts: the middle of "
                       "its lower edge (default), or of the box")
    group.add_argument("--counts", metavar="FILE", help="write the counts at the end, as CSV")
    group.add_argument("--smooth", type=int, metavar="N", help="show boxes as their means over N frames, and tracked "
                       "objects on for N frames that miss them (default 0: off)")


def prepared(words: Sequence[str]) -> list[str]:
    """-track may stand alone; what follows it then is no kind."""
    return [f"--track={AUTO}" if word == "--track" and following not in KINDS else word
            for word, following in zip(words, [*words[1:], ""], strict=False)]


def wants_embeddings(arguments: argparse.Namespace) -> bool:
    """Whether the detector is to hand out embeddings. Tiles have other boxes than the network's, and none."""
    return _kind(arguments) in (AUTO, EMBEDDING) and not getattr(arguments, "tiles", None)


def open_steps(arguments: argparse.Namespace, detector: Detector, source: Source
               ) -> tuple[list[Step], list[CountsFile]]:
    """The steps that the flags name, in their order; and the consumers of what they find."""
    from darknet_py.errors import DarknetError
    from darknet_py.live.counting import Count, CountsFile, Line, Zone, parse_named
    from darknet_py.live.smoothing import MOST_SMOOTHED, Smooth
    kind = _kind(arguments)
    if not 0 <= arguments.smooth <= MOST_SMOOTHED:
        raise DarknetError(f"-smooth needs a number of frames from 0 to {MOST_SMOOTHED}, found {arguments.smooth}")
    zones, lines = parse_named("zone", arguments.zone or (), Zone), parse_named("line", arguments.line or (), Line)
    for names, needs, there in ((OF_EMBEDDINGS, "-track embedding", kind in (AUTO, EMBEDDING)),
                                (("anchor", "counts"), "-zone or -line", bool(zones or lines))):
        for name in names:
            if getattr(arguments, name) is not None and not there:
                raise DarknetError(f"-{name} needs {needs}")
    steps: list[Step] = [] if kind is None else [_tracker(kind, arguments, detector, source)]
    if arguments.smooth:
        steps.append(Smooth(arguments.smooth))
    if zones or lines:
        steps.append(Count(zones, lines, "bottom" if arguments.anchor is None else arguments.anchor))
    return steps, [] if arguments.counts is None else [CountsFile(arguments.counts)]


def _kind(arguments: argparse.Namespace) -> str | None:
    """That of -track, which other flags imply; None: nothing is tracked."""
    track = getattr(arguments, "track", None)
    needed = any(getattr(arguments, name, None) for name in ("zone", "line", "smooth"))
    return AUTO if track is None and needed else track


def _tracker(kind: str, arguments: argparse.Namespace, detector: Detector, source: Source) -> Step:
    from darknet_py.errors import DarknetError
    from darknet_py.live.tracking import LOW, TrackByByteTrack, TrackByEmbeddings
    step: Step
    if kind == BYTETRACK or (kind == AUTO and not detector.postprocess.embedding_size):
        if given := [name for name in OF_EMBEDDINGS if getattr(arguments, name) is not None]:
            raise DarknetError(f"-{given[0]} needs -track embedding")
        chosen, step = BYTETRACK, TrackByByteTrack(arguments.thresh, source.rate, source.live)
        detector.thresh = min(detector.thresh, LOW)
    else:
        chosen, step = EMBEDDING, TrackByEmbeddings(_options(arguments, detector), detector.postprocess.classes)
    if arguments.track is None:
        flag = next(name for name in ("zone", "line", "smooth") if getattr(arguments, name))
        say(f"-{flag} needs tracked objects: -track {chosen}")
    return step


def _options(arguments: argparse.Namespace, detector: Detector) -> EmbeddingOptions:
    """Those of the last [yolo] with embeddings, and of the flags."""
    from darknet_py.errors import DarknetError
    from darknet_py.live.embedding_tracker import EmbeddingOptions
    if not detector.postprocess.embedding_size:
        why = ("pictures in tiles have none" if getattr(arguments, "tiles", None) else
               f"{detector.model} has none; its .weights have" if detector.model is not None else
               "no [yolo] has embedding_layer=")
        raise DarknetError(f"{detector.outline.cfg.path}: -track embedding needs a network with embeddings, but {why}")
    head = [one for one in detector.outline.detection_heads if one.embedding_layer is not None][-1]
    given = {name: value for name in OF_EMBEDDINGS if (value := getattr(arguments, name)) is not None}
    return EmbeddingOptions(**{name: getattr(head.options, name) for name in OF_EMBEDDINGS} | given)
