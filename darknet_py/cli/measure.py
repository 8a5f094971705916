"""detector map, recall and valid: evaluation of a network on the validation pictures of a .data file."""
from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from darknet_py.cli.detect import backend_options, device, tile_options
from darknet_py.cli.model import read_network
from darknet_py.cli.output import say
from darknet_py.cli.progress import Progress

if TYPE_CHECKING:
    from darknet_py.data.dataset import Sample
    from darknet_py.evaluation.predict import Predictions
    from darknet_py.model.network import LazyNetwork, Network
    from darknet_py.utils.distributed import World

SHOWN = 20          # problems of labels and pictures


class EvaluationInput(NamedTuple):
    """The inputs of an evaluation: network, of which its backend may have the weights alone, class names, pictures,
    options of ``evaluate_map``, process group; and the network with its files."""

    network: Network
    names: list[str]
    samples: list[Sample]
    options: dict[str, Any]
    world: World
    files: LazyNetwork


def prepare(arguments: argparse.Namespace, few: bool = True) -> EvaluationInput:
    """Read the network, names and pictures that the arguments name.

    Args:
        few: of few pictures, compile no model for them.

    Raises:
        DarknetError: also for names of another number than the network's classes, as in C.
    """
    from darknet_py.data.coco import category_name
    from darknet_py.data.datafile import entries_of, find_names, opened, read_names
    from darknet_py.data.dataset import class_names, find_near, read_samples
    from darknet_py.errors import DarknetError, DataError, Reason
    from darknet_py.inference.backends import open_backend
    from darknet_py.inference.postprocess import PostProcessor
    from darknet_py.inference.tiles import Tiling
    from darknet_py.utils.device import local_device
    from darknet_py.utils.distributed import World
    if arguments.images:
        raise DarknetError(f"takes its pictures from valid= in {arguments.data}, found {arguments.images[0]} after "
                           "the weights")
    files = read_network(arguments)
    network = files.outline
    tiling = Tiling.of(**tile_options(arguments), network=network)
    data = opened(arguments.data)
    if (entry := entries_of(data).get("map")) is not None:
        apply_map(network, find_near(entry, Path(data)))
    classes = PostProcessor.of(network).classes
    names = class_names(data) if arguments.names is None else read_names(arguments.names)
    if names is not None and arguments.names is None and not arguments.data.endswith(".data"):
        # a COCO JSON or VOC folder has its classes in an order of its own; the names beside the network tell its order
        own = find_names(arguments.cfg, arguments.weights, classes)
        names = own if set(map(category_name, own)) <= set(map(category_name, names)) else names
    if names is not None and len(names) != classes:
        raise DataError(f"{arguments.names or arguments.data}: has {len(names)} names for a network of {classes} "
                        f"classes ({arguments.cfg})", Reason.WRONG_COUNT)
    names = find_names(arguments.cfg, arguments.weights, classes, names)
    samples = read_samples(data, "valid", names)
    where = local_device(device(arguments))
    world = World(where)
    backend = open_backend(files, device=where, **backend_options(arguments, len(samples) if few else 0))
    backend.leave_cores()
    options = {"letterbox": arguments.letter_box or None, "backend": backend, "world": world}
    if tiling is not None:
        options["tiling"] = tiling
    if arguments.nms is not None:
        options["nms"] = arguments.nms
    return EvaluationInput(network, names, samples, options, world, files)


def apply_map(network: Network, path: Path) -> None:
    """Make a network with a tree of classes report those of a map file, a number a line (map= of a .data file)."""
    from darknet_py.errors import DataError, Reason
    from darknet_py.layers.class_tree import read_map
    from darknet_py.layers.region import Region
    heads = [layer for layer in network.layers if isinstance(layer, Region) and layer.tree is not None]
    if not heads:
        raise DataError(f"map={path} needs a network with [region] tree=, {network.cfg.path} has none",
                        Reason.WRONG_TASK)
    for head in heads:
        head.report(read_map(str(path), head.options.classes, head.place))


def check_thresholds(arguments: argparse.Namespace) -> None:
    """Refuse thresholds and numbers of points out of range, before a network is loaded."""
    from darknet_py.evaluation.darknet_map import check_settings
    check_settings(arguments.iou_thresh, arguments.points)


def difficult(arguments: argparse.Namespace, measured: EvaluationInput) -> list[Sample] | None:
    """The samples of difficult objects, which need not be detected, if the data set has such."""
    from darknet_py.data.dataset import read_samples
    return read_samples(arguments.data, "difficult", measured.names) or None


def progress(measured: EvaluationInput) -> Progress:
    """The progress bar, of rank 0 alone."""
    return Progress(len(measured.samples), sys.stderr if measured.world.is_main else None)


def warn(problems: Sequence[str]) -> None:
    """Print the first problems, and the number of the others."""
    for problem in problems[:SHOWN]:
        say(f"warning: {problem}", error=True)
    if len(problems) > SHOWN:
        print(f"warning: and {len(problems) - SHOWN} more such problems", file=sys.stderr)


def print_result(measured: EvaluationInput, text: str, problems: Sequence[str], predictions: Predictions | None = None
                 ) -> int:
    """Print a result and problems, in rank 0 alone, and leave the process group."""
    if measured.world.is_main:
        warn(problems)
        print(text, end="")
        if predictions is not None:
            print(predictions.speed(), file=sys.stderr)
    measured.world.close()
    return 0


def run_map(arguments: argparse.Namespace) -> int:
    """detector map: mean average precision as C prints it."""
    from darknet_py.evaluation.evaluate import evaluate_map
    check_thresholds(arguments)
    measured = prepare(arguments)
    if measured.world.is_main:
        print("\n calculation mAP (mean average precision)...", flush=True)
    with progress(measured) as bar:
        result = evaluate_map(
            measured.network, measured.samples, measured.names, iou_thresh=arguments.iou_thresh,
            points=arguments.points, thresh=arguments.thresh, difficult=difficult(arguments, measured),
            progress=bar.track, **measured.options)
    return print_result(measured, result.text(), result.problems)


def run_recall(arguments: argparse.Namespace) -> int:
    """detector recall: recall of the proposals."""
    from darknet_py.evaluation.evaluate import evaluate_recall
    measured = prepare(arguments)
    with progress(measured) as bar:
        result, predictions = evaluate_recall(measured.network, measured.samples, measured.names, progress=bar.track,
                                              **measured.options)
    return print_result(measured, result.text(), predictions.problems, predictions)


def run_valid(arguments: argparse.Namespace) -> int:
    """detector valid: files of detections in the format that eval= names."""
    from darknet_py.data.coco import read_coco_json
    from darknet_py.data.datafile import entries_of
    from darknet_py.data.dataset import coco_json
    from darknet_py.errors import printable
    from darknet_py.evaluation.coco_ap import ids_of
    from darknet_py.evaluation.predict import VALID, predict
    from darknet_py.evaluation.result_files import image_ids, write_results
    entries = entries_of(arguments.data)
    source = coco_json(arguments.data)
    data = None if source is None else read_coco_json(source)
    kind = entries.get("eval", "voc" if source is None else "coco")
    measured = prepare(arguments)
    settings = VALID._replace(nms=measured.options.pop("nms", VALID.nms))
    with progress(measured) as bar:
        predictions = predict(measured.network, measured.samples, measured.names, [settings], labels=False,
                              progress=bar.track, **measured.options)
    paths, problems = [sample.image for sample in measured.samples], list(predictions.problems)
    images, categories = None, None
    if source is not None and data is not None:
        images, categories = ids_of(source, data, measured.names)
    elif kind == "coco":
        images, why = image_ids(paths)
        problems += [] if why is None else [why]
    written: Iterable[Path] = ()
    if measured.world.is_main:
        written = write_results(kind, entries.get("results", "results"), predictions.detections[0], predictions.sizes,
                                paths, measured.names, name=arguments.out, images=images, categories=categories)
    text = "".join(f"{printable(str(path))}\n" for path in written)
    text = f"{len(predictions.detections[0].scores)} detections ({settings}) in\n{text}"
    return print_result(measured, text, problems, predictions)
