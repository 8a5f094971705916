"""Find objects in pictures.

Prints a line a detection, sorted by left edge, and writes the pictures with their boxes: predictions.jpg for one,
predictions/NAME.jpg for several (predictions_2/ and so on where that has something in it). Pictures are files, folders,
patterns, lists (.txt) with a path a line, URLs, and - for the bytes of one on the standard input. Without a picture,
paths are read from the standard input.
"""
from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from darknet_py.cli import demo_tracking, model
from darknet_py.cli.detect_outputs import PictureFiles, ResultFile, say_written, stem_of
from darknet_py.cli.output import counted, say
from darknet_py.utils.files import write_file

if TYPE_CHECKING:
    import numpy as np

    from darknet_py.errors import DataError
    from darknet_py.inference.detections import Detections
    from darknet_py.inference.detector import Detector, Frame
    from darknet_py.live.objects import ChooseObjects, ObjectPictures

IMAGES = "pictures: files, folders, patterns such as 'photos/*.jpg', lists (.txt), URLs, or - for the standard input"
WRITERS = 2             # threads that draw and write pictures


class Result(NamedTuple):
    """Of a picture. target: the file to draw it into, None for none; error: what is wrong with it or its files."""

    path: str
    frame: Frame | None
    target: Path | None
    error: DataError | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    model.add_arguments(parser)
    parser.add_argument("images", nargs="*", help=IMAGES)
    parser.add_argument("--data", help="a .data file, for its names")
    add_flags(parser)


def add_flags(parser: argparse.ArgumentParser, thresh: float = .24) -> None:
    """The flags that ``detect`` and ``detector test`` share."""
    add_detector_flags(parser, thresh)
    parser.add_argument("--out", metavar="FILE", help="write the detections: as JSON, CSV, lines or Pascal VOC, as "
                        "FILE ends with .json, .csv, .txt or .xml (of one picture; FOLDER/: an .xml for each)")
    parser.add_argument("--pictures", metavar="PATH", help="where pictures with boxes go: a file for one, else a "
                        "folder (default predictions.jpg, predictions/); what is in it is not overwritten")


def add_detector_flags(parser: argparse.ArgumentParser, thresh: float) -> None:
    """The flags of whatever shows what a detector finds."""
    add_model_flags(parser)
    add_tile_flags(parser)
    add_threshold_flags(parser, thresh)
    parser.add_argument("--only", nargs="+", action="extend", metavar="CLASS", help="report these alone: names or "
                        "numbers")
    parser.add_argument("--blur", nargs="+", action="extend", metavar="CLASS", help="make objects of these classes "
                        "unrecognizable in all pictures that are shown or written")
    parser.add_argument("--crops", metavar="FOLDER", help="write each object as FOLDER/CLASS/PICTURE_N.jpg")
    parser.add_argument("--save-labels", action="store_true", help="write a label file beside each picture; of demo "
                        "beside those of -prefix")
    parser.add_argument("--ext-output", action="store_true", help="print coordinates too")
    parser.add_argument("--dontdraw-bbox", action="store_true", help="draw no boxes; of pictures: write none")
    parser.add_argument("--benchmark-layers", action="store_true", help="print the time of each layer, in PyTorch")
    parser.add_argument("--dont-show", action="store_true", help="open no window; of pictures none is ever opened")


def add_threshold_flags(parser: argparse.ArgumentParser, thresh: float) -> None:
    """The flags of post-processing."""
    parser.add_argument("--thresh", type=float, help=f"least score (default {thresh}, or as a model says)")
    parser.set_defaults(usual_thresh=thresh)
    parser.add_argument("--nms", type=float, help="overlap that suppresses (default .45, 0 for none)")
    parser.add_argument("--hier", type=float, default=.5, help="least probability down a tree of classes (default .5)")


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of whatever runs a detector."""
    model.add_cfg_flags(parser)
    parser.add_argument("--names", help="a file with a class name a line")
    parser.add_argument("--letter-box", action="store_true", help="keep the picture's proportions")
    parser.add_argument("--i", type=int, metavar="N", help="the GPU to use; -1 for none")
    parser.add_argument("--device", help="auto, cpu, cuda, cuda:0 ... (default auto)")
    parser.add_argument("--strict", action="store_true", help="what Darknet would pass over in the cfg is an error")
    add_backend_flags(parser)


def add_tile_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of large pictures, see ``tile_options``."""
    parser.add_argument("--tiles", metavar="CxR", help="cut each picture into tiles, C columns and R rows such as 2x2, "
                        "and detect in them and in the whole, for small objects in large pictures")
    parser.add_argument("--overlap", type=float, metavar="PART", help="of a tile's side that neighbours share, from 0 "
                        "to .9 (default .2)")


def add_backend_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of the runtime."""
    parser.add_argument("--backend", metavar="NAME", help="what runs the network: auto (the fastest here at float32's "
                        "accuracy), pytorch, compile, ncnn, openvino, onnxruntime, tensorrt, torchscript, torch.export "
                        "(default auto)")
    parser.add_argument("--precision", metavar="NAME", help="what it computes in: float32 (default), bfloat16, "
                        "float16; int8 of a model in the place of the weights, which darknet-py quantize makes")


def run(arguments: argparse.Namespace) -> int:
    """Detect in all pictures; a picture that cannot be read is reported, and the others go on."""
    from darknet_py.data.datafile import label_path
    from darknet_py.data.image import read_image
    from darknet_py.data.lists import find_images
    from darknet_py.errors import DataError, Reason, printable
    from darknet_py.utils.prefetch import prefetch
    from darknet_py.viz import draw
    found = list(find_images(arguments.images))
    given = [*arguments.images, *found, arguments.cfg, arguments.weights, arguments.data, arguments.names]
    out = None if arguments.out is None else ResultFile(arguments.out, len(found), given)
    detector = make_detector(arguments, len(found))
    detector.backend.leave_cores()
    choose, crops = open_objects(arguments, detector)
    pictures = PictureFiles(arguments.pictures, len(found) != 1)
    labelled, crowded = [], list[tuple[str, int]]()
    frames: list[Detections] = []
    failed = 0
    report = None
    if arguments.benchmark_layers:
        from darknet_py.cli.profile import LayerReport
        report = LayerReport(detector.network)
    overlapped = len(found) > 1 and report is None

    def results() -> Iterator[Result]:
        for given, frame in detector.stream(found or ask_for_images(), overlapped=overlapped):
            path = str(given)
            try:
                if isinstance(frame, DataError):
                    raise frame
                yield Result(path, frame, None if arguments.dontdraw_bbox else pictures.path(path))
            except DataError as error:
                yield Result(path, None if isinstance(frame, DataError) else frame, None, error)

    def written(result: Result) -> Result:
        path, frame, target, error = result
        if frame is None or error is not None:
            return result
        try:
            image = frame.image
            if image.shape[2] != 3 and (target is not None or crops is not None) and os.path.isfile(path):
                image = read_image(path)
            if choose is not None:
                found, image = choose.of(frame.detections, image)
                result = result._replace(frame=frame._replace(detections=found))
            else:
                found = frame.detections
            if target is not None:
                write_picture(target, found.draw(image))
            if crops is not None:
                crops.add(stem_of(path), found, image)
            if arguments.save_labels:
                if not os.path.isfile(path):
                    raise DataError(f"{path}: a label file lies beside its picture, and this one is no file",
                                    Reason.UNWRITABLE)
                write_file(label_path(path), found.to_labels().encode())
        except DataError as error:
            return result._replace(error=error)
        return result

    # Pictures are drawn and written while the network has the next ones.
    for path, frame, target, error in prefetch(written, results(), WRITERS if overlapped else 1, int(overlapped)):
        if frame is not None:
            for line in () if report is None else report.lines():
                print(line)
            print(f"{printable(path)}: Predicted in {frame.seconds * 1000:.3f} milli-seconds.")
            print("".join(lines(frame.detections, arguments.ext_output)), end="", flush=True)
        if error is not None:
            print(f"darknet-py: {error}", file=sys.stderr)
            failed += 1
        elif frame is not None:
            frames.append(frame.detections)
            if arguments.save_labels:
                labelled.append(path)
            if target is not None:
                pictures.written.append(target)
                if len(frame.detections) > draw.MOST_DRAWN:
                    crowded.append((path, len(frame.detections)))
    if crowded:
        path, count = crowded[0]
        others = f"; so in {counted(len(crowded) - 1, 'other picture')}" if len(crowded) > 1 else ""
        say(f"warning: {path}: of {count} detections the {draw.MOST_DRAWN} most confident are drawn{others}",
            error=True)
    parts = [*pictures.phrase(), *([] if out is None else out.write(frames))]
    say_written([*parts, *([f"label files of {counted(len(labelled), 'picture')}"] if labelled else []),
                 *([f"objects in {crops.folder}{os.sep}"] if crops is not None and frames else [])])
    return int(failed > 0)


def open_objects(arguments: argparse.Namespace, detector: Detector
                 ) -> tuple[ChooseObjects | None, ObjectPictures | None]:
    """What -only and -blur, and -crops, ask for."""
    from darknet_py.data.datafile import class_numbers
    from darknet_py.live.objects import ChooseObjects, ObjectPictures
    only, blur = (None if given is None else class_numbers(given, detector.names)
                  for given in (arguments.only, arguments.blur))
    return (None if only is None and blur is None else ChooseObjects(only, blur),
            None if arguments.crops is None else ObjectPictures(arguments.crops))


def backend_options(arguments: argparse.Namespace, images: int = 0) -> dict[str, Any]:
    """The options that the flags of the runtime give ``Detector``.

    Args:
        images: how many there will be; 0: not known.
    """
    from darknet_py.inference.backends import FEW
    return {"backend": "auto" if arguments.backend is None else arguments.backend,
            "precision": "float32" if arguments.precision is None else arguments.precision,
            "few": 0 < images <= FEW}


def layers_options(arguments: argparse.Namespace, images: int) -> dict[str, Any]:
    """``backend_options``, for a verb that takes -benchmark_layers."""
    from darknet_py.errors import DarknetError
    options = backend_options(arguments, images)
    if arguments.benchmark_layers:
        if options["backend"] not in ("auto", "pytorch"):
            raise DarknetError(f"-benchmark_layers needs -backend pytorch, found {options['backend']}")
        options["backend"] = "pytorch"
    return options


def tile_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The options that the flags of tiles give ``Detector``."""
    from darknet_py.errors import DarknetError
    if arguments.overlap is not None and arguments.tiles is None:
        raise DarknetError("-overlap needs -tiles COLUMNSxROWS")
    return {"tiles": arguments.tiles, "overlap": .2 if arguments.overlap is None else arguments.overlap}


def make_detector(arguments: argparse.Namespace, images: int) -> Detector:
    """The detector that the flags describe, for so many images."""
    options = layers_options(arguments, images)
    return model.make_detector(
        arguments, thresh=arguments.thresh, nms=.45 if arguments.nms is None else arguments.nms,
        hier_thresh=arguments.hier, stateful=True,          # as C from picture to picture
        embeddings=demo_tracking.wants_embeddings(arguments), **options, **tile_options(arguments))


def device(arguments: argparse.Namespace) -> str:
    """The device of -device, or of C's -i."""
    import torch

    from darknet_py.utils.device import device_name
    if arguments.device is None and arguments.i is not None:
        return device_name(arguments.i, "-i") if arguments.i >= 0 and torch.cuda.is_available() else "cpu"
    return device_name("auto" if arguments.device is None else arguments.device, "-device")


def ask_for_images() -> Iterator[str]:
    """Pictures by the lines of the standard input, see ``find_images``, until it ends."""
    from darknet_py.data.lists import find_images
    from darknet_py.errors import DataError
    while True:
        print("Enter Image Path: ", end="", flush=True)
        line = sys.stdin.readline()
        if not line:
            print()
            return
        if line.strip():
            try:
                yield from find_images([line.strip()])
            except DataError:                   # the detector says so in the place of a result
                yield line.strip()


def lines(detections: Detections, ext_output: bool) -> Iterator[str]:
    """Darknet's printout: boxes by their left edge, a box's classes together, the likeliest first.

    Darknet: draw_detections_v3.
    """
    from darknet_py.errors import printable
    groups: dict[tuple[float, ...], list] = {}
    for detection in detections:
        groups.setdefault(tuple(detection.box.tolist()), []).append(detection)
    for box in sorted(groups, key=lambda box: box[0]):
        best, *others = groups[box]
        left, top, right, bottom = box
        place = (f"\t(left_x: {rounded(left):4.0f}   top_y: {rounded(top):4.0f}   width: {rounded(right - left):4.0f}"
                 f"   height: {rounded(bottom - top):4.0f})") if ext_output else ""
        for detection in (best, *sorted(others, key=lambda other: other.label)):
            yield f"{printable(detection.name)}: {detection.score * 100:.0f}%{place}\n"


def rounded(x: float) -> float:
    """C's round: halves away from zero."""
    return math.copysign(math.floor(abs(x) + .5), x)


def write_picture(path: Path, image: np.ndarray) -> None:
    """A picture (H, W, 3) BGR, in the format that its name ends with."""
    from darknet_py.viz import display
    display.write_picture(path, image)
