"""Where ``demo`` writes and serves what it finds; of several sources each on its own."""
from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from darknet_py.live.session import Sink
    from darknet_py.live.sources import Source

FILES = ("out_filename", "json_file_output", "counts")
PORTS = ("json_port", "mjpeg_port")


def of_source(arguments: argparse.Namespace, number: int) -> argparse.Namespace:
    """The flags for one of several sources: boxes.mp4 is boxes_0.mp4 for the first, -prefix out/frame out/frame_0,
    -crops FOLDER FOLDER_0, and its ports are those that were given; the next source has the next ones."""
    own = copy(arguments)
    for name in FILES:
        if (path := getattr(own, name)) is not None:
            setattr(own, name, str(Path(path).with_stem(f"{Path(path).stem}_{number}")) if Path(path).name else path)
    for name in ("prefix", "crops"):
        if (path := getattr(own, name, None)) is not None:
            setattr(own, name, f"{path}_{number}")
    for name in PORTS:
        if (port := getattr(own, name)) > 0:
            setattr(own, name, port + number)
    return own


def open_sinks(arguments: argparse.Namespace, source: Source, report: Callable[[str], None]) -> Iterator[Sink]:
    """The consumers of a source's results that the flags name. Servers first: a client sees a frame before it is
    written.

    Args:
        report: takes a line about one of them that does not work.
    """
    from darknet_py.live.files import JsonFile, PictureFiles
    from darknet_py.live.http_forms import JSON_FORMS, MJPEG_FORMS, JsonArray, Mjpeg
    from darknet_py.live.http_post import HttpPost
    from darknet_py.live.http_streams import StreamServer
    from darknet_py.live.video import VideoWriter
    for port, form, forms in ((arguments.json_port, JsonArray(), JSON_FORMS),
                              (arguments.mjpeg_port, Mjpeg(), MJPEG_FORMS)):
        if port > 0:
            yield StreamServer(port, form, forms, arguments.bind)
    if arguments.http_post_host is not None:
        yield HttpPost(arguments.http_post_host, source.name, arguments.time_limit_sec > 0, report)
    if arguments.json_file_output is not None:
        yield JsonFile(arguments.json_file_output)
    if arguments.prefix is not None:
        yield PictureFiles(arguments.prefix)
    if arguments.out_filename is not None:
        yield VideoWriter(arguments.out_filename, source.rate, source.live, arguments.codec)


def check_outputs(outputs: Sequence[argparse.Namespace], sources: Sequence[str]) -> None:
    """Refuse to write over a source, or two files into one.

    Args:
        outputs: the flags of each source.
        sources: as they were given.
    """
    from darknet_py.errors import DarknetError
    from darknet_py.utils.files import is_same_file
    names = [(flag, name) for own in outputs for flag in FILES if (name := getattr(own, flag))]
    for flag, name in names:
        for other in sources:
            if is_same_file(name, other):
                raise DarknetError(f"-{flag} {name} is the source itself")
    for (flag, name), (other, again) in combinations(names, 2):
        if os.path.realpath(name) == os.path.realpath(again):
            raise DarknetError(f"-{flag} and -{other} are the same file, {name}")


def pages(outputs: Sequence[argparse.Namespace]) -> str:
    """The addresses of the MJPEG streams."""
    from darknet_py.live.http_streams import url_of
    return ", ".join(url_of(own.bind, own.mjpeg_port) for own in outputs)
