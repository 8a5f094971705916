"""Quantize a detector to INT8 after training, and measure what that costs and gains.

OUT's extension tells the format: .xml (OpenVINO IR), .onnx (ONNX with QDQ nodes). It takes the place of WEIGHTS in
detect, evaluate, detector map and others: darknet-py detect CFG OUT picture.jpg.

The ranges of the layers' outputs are taken from pictures of train= of the .data file. mAP is measured on valid= before
and after. Where it falls by more than -max_drop points, the layers that matter most are put back into float, as few as
are needed; if that is not enough nothing is written.
"""
from __future__ import annotations

import argparse
import sys

from darknet_py.cli import measure, model
from darknet_py.cli.output import say
from darknet_py.cli.progress import Progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    model.add_arguments(parser)
    parser.add_argument("out", help="the file to write")
    parser.add_argument("--data", required=True, help="a .data file, with pictures under train and valid")
    parser.add_argument("--max-drop", type=float, default=.5, metavar="POINTS", help="the points of mAP@.5 (per cent) "
                        "that it may cost (default .5)")
    parser.add_argument("--subset", type=int, default=300, metavar="N", help="pictures to calibrate with, spread over "
                        "train (default 300, at least 32)")
    parser.add_argument("--symmetric", action="store_true", help="of ONNX, for TensorRT: zero points are 0, "
                        "which costs accuracy")
    model.add_cfg_flags(parser)
    parser.add_argument("--names", help="a file with a class name a line")
    parser.add_argument("--letter-box", action="store_true", help="keep the picture's proportions")
    parser.add_argument("--nms", type=float, help="overlap that suppresses (default .45)")
    parser.add_argument("--strict", action="store_true", help="what Darknet would pass over in the cfg is an error")
    parser.set_defaults(images=[], device="cpu", i=None, backend=None, precision=None, tiles=None,
                        overlap=None)


def run(arguments: argparse.Namespace) -> int:
    from darknet_py.convert.quantize import check_request, quantize
    from darknet_py.data.dataset import read_samples
    check_request(arguments.out, arguments.max_drop, arguments.subset, arguments.symmetric)
    measured = measure.prepare(arguments, few=False)
    del measured.options["world"]
    with Progress(0, sys.stderr, lines=sys.stdout) as bar:
        done = quantize(
            measured.files, arguments.out, read_samples(arguments.data, "train", measured.names), measured.samples,
            measured.names, max_drop=arguments.max_drop, subset=arguments.subset,
            symmetric=arguments.symmetric, difficult=measure.difficult(arguments, measured), report=bar.print,
            progress=lambda what, at, of: bar.track(at, of, what), **measured.options)
    measure.warn(done.problems)
    for path, size in done.files.items():
        say(f"wrote {path}: {size:,} bytes")
    say(f"mAP@0.50: {done.before:.2f} % in float32, {done.after:.2f} % in int8, {done.after - done.before:+.2f} points")
    if done.restored:
        say(f"layers that are still in float: {', '.join(map(str, done.restored))}")
    say(f"network time of a picture: {done.float_seconds * 1000:.2f} ms in float32, {done.seconds * 1000:.2f} ms in "
        f"int8, {done.float_seconds / done.seconds:.2f} times as fast")
    return 0
