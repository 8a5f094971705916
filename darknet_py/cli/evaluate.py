"""detector map: the mean average precision of a network on the validation pictures of a .data file."""
from __future__ import annotations

import argparse
import sys

from darknet_py.cli.detect import device
from darknet_py.cli.progress import Progress

SHOWN = 20          # problems of labels and pictures


def run(arguments: argparse.Namespace) -> int:
    from darknet_py.cfg import read_cfg
    from darknet_py.data.datafile import find_names
    from darknet_py.data.dataset import class_names, read_samples
    from darknet_py.detect import count_classes
    from darknet_py.errors import DarknetError
    from darknet_py.evaluate import evaluate_map
    from darknet_py.network import load_network
    if arguments.images:
        raise DarknetError(f"detector map takes its pictures from valid= in {arguments.data}, "
                           f"found {arguments.images[0]} after the weights")
    if arguments.points < 0 or arguments.points == 1:
        raise DarknetError(f"-points needs 0, or a number from 2 on, such as 11 or 101; found {arguments.points}")
    if not 0 <= arguments.iou_thresh < 1:
        raise DarknetError(f"-iou_thresh needs a number from 0 to below 1, found {arguments.iou_thresh:g}")
    network = load_network(read_cfg(arguments.cfg, strict=arguments.strict), arguments.weights)
    in_data = arguments.data.endswith(".data")          # any other source of pictures may have names of its own
    names = find_names(arguments.cfg, arguments.weights, count_classes(network),
                       arguments.names if arguments.names is not None or in_data else class_names(arguments.data),
                       arguments.data if in_data else None)
    samples = read_samples(arguments.data, "valid", names)
    difficult = read_samples(arguments.data, "difficult", names)
    print("\n calculation mAP (mean average precision)...", flush=True)
    with Progress(len(samples), sys.stderr) as progress:
        result = evaluate_map(
            network, samples, names, iou_thresh=arguments.iou_thresh, points=arguments.points, thresh=arguments.thresh,
            nms=arguments.nms, letterbox=arguments.letter_box or None, difficult=difficult or None,
            device=device(arguments), progress=lambda done, _: progress.update(done))
    for problem in result.problems[:SHOWN]:
        print(f"warning: {problem}", file=sys.stderr)
    if len(result.problems) > SHOWN:
        print(f"warning: and {len(result.problems) - SHOWN} more such problems", file=sys.stderr)
    print(result.text(), end="")
    return 0
