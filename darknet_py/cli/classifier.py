"""Darknet's verbs for classifiers.

classifier train DATA CFG [WEIGHTS]                train a classifier, as darknet-py train does
classifier valid DATA CFG WEIGHTS                  its accuracy on the pictures that DATA names under valid
classifier predict DATA CFG WEIGHTS [IMAGE]...     the likeliest classes of pictures, folders or patterns
classifier demo DATA CFG WEIGHTS [SOURCE]...       those of videos, cameras or streams; see darknet-py demo --help
"""
from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from darknet_py.cli import action_flags, demo_flags, train
from darknet_py.cli.detect import (
    IMAGES,
    add_backend_flags,
    ask_for_images,
    backend_options,
    device,
)
from darknet_py.cli.model import add_cfg_flags, make_classifier, read_network, require_weights
from darknet_py.cli.progress import Progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=["train", "valid", "predict", "demo"], help="what to do")
    train.add_arguments(parser)
    parser.add_argument("images", nargs="*", help=f"for predict: {IMAGES}; asks for paths if there are none; for "
                        "demo SOURCEs")
    parser.add_argument("--names", help="for predict and demo: a file with a class name a line")
    add_cfg_flags(parser)
    add_backend_flags(parser)
    parser.add_argument("--topk", "--top", "--t", type=int, metavar="N", help="how many of the likeliest classes "
                        "(default: top= of DATA, or 1); train: the same as -map, measure accuracy and keep the best "
                        "weights")
    parser.conflict_handler = "resolve"         # -mjpeg_port and -bind, which training has too
    demo_flags.add_flags(parser, steps=False)
    parser.add_argument("--dontdraw-bbox", action="store_true", help="for demo: do not write the classes on pictures")


def prepared(words: Sequence[str]) -> list[str]:
    """-topk stands alone in Darknet; here a number may follow it. 0 is none."""
    found: list[str] = []
    for word in words:
        if found and found[-1] == "--topk":
            found[-1] = f"--topk={word}" if word.isdecimal() else "--topk=0"
            if word.isdecimal():
                continue
        found.append(word)
    return [*found[:-1], "--topk=0"] if found[-1:] == ["--topk"] else found


def run(arguments: argparse.Namespace) -> int:
    from darknet_py.errors import DarknetError
    action, topk = arguments.action, arguments.topk
    if action != "train":
        require_weights(arguments, f"classifier {action} needs DATA CFG WEIGHTS")
    action_flags.check("classifier", arguments)
    if arguments.images and action not in ("predict", "demo"):
        raise DarknetError(f"classifier {action} takes its pictures from {arguments.data}, found "
                           f"{arguments.images[0]} after the weights")
    if topk is not None and topk < 0:
        raise DarknetError(f"-topk needs a number from 1 on, found {topk}")
    if action == "train":
        arguments.map |= topk is not None
        return train.run(arguments)
    if action == "demo":
        from darknet_py.cli import classifier_demo
        return classifier_demo.run(arguments)
    return valid(arguments) if action == "valid" else predict(arguments)


def valid(arguments: argparse.Namespace) -> int:
    """Print the accuracy; under torchrun the processes share the pictures, and rank 0 prints."""
    from darknet_py.data.classification import ClassifierPictures
    from darknet_py.evaluation.classification import evaluate_classifier, read_leaves
    from darknet_py.inference.backends import open_backend
    from darknet_py.inference.classifier import count_outputs, output_layer
    from darknet_py.utils.device import local_device
    from darknet_py.utils.distributed import World
    where = local_device(device(arguments))
    world = World(where)
    files = read_network(arguments, warned=world.is_main)
    network = files.outline
    count_outputs(network)
    pictures = ClassifierPictures.from_data(arguments.data, "valid", channels=network.input_shape.channels)
    backend = open_backend(files, device=where, layers=[output_layer(network)],
                           **backend_options(arguments, len(pictures)))
    backend.leave_cores()
    top, began = top_of(arguments, pictures.classes), time.perf_counter()
    if world.is_main:
        print(" TOP calculation...", flush=True)
    with Progress(len(pictures), sys.stderr) as progress:
        result = evaluate_classifier(
            network, pictures, backend=backend, leaves=read_leaves(arguments.data), workers=arguments.workers,
            world=world, progress=(lambda done, _: progress.update(done)) if world.is_main else None)
    seconds = time.perf_counter() - began
    if world.is_main:
        for problem in result.problems:
            print(f"warning: {problem}", file=sys.stderr)
        print(f"{len(result)} pictures in {seconds:.1f} seconds, {len(result) / seconds:.3g} a second", file=sys.stderr)
        print(result.text(top), end="", flush=True)
    world.close()
    return 0


def predict(arguments: argparse.Namespace) -> int:
    """Print the likeliest classes of each picture; one that cannot be read is reported, and the others go on."""
    from darknet_py.data.lists import find_images
    from darknet_py.errors import DataError, printable
    images = list(find_images(arguments.images))
    classifier = make_classifier(arguments, **backend_options(arguments, len(images)))
    classifier.backend.leave_cores()
    names, failed = classifier.names, 0
    top = top_of(arguments, len(names))
    for path, one in classifier.stream(images or ask_for_images(), overlapped=len(images) > 1):
        if isinstance(one, DataError):
            print(f"darknet-py: {one}", file=sys.stderr)
            failed += 1
            continue
        print(f"{printable(str(path))}: Predicted in {one.seconds * 1000:.3f} milli-seconds.")
        for each in one.prediction.top(top):
            if each.parent is None:
                print(f"{printable(each.name)}: {each.score:f}")
            else:
                print(f"{each.label}, {printable(each.name)}: {each.score:f}, parent: "
                      f"{printable(names[each.parent]) if each.parent >= 0 else 'Root'} ")
        sys.stdout.flush()
    return int(failed > 0)


def top_of(arguments: argparse.Namespace, classes: int) -> int:
    """How many of the likeliest classes count: the flag's number, else the data file's."""
    from darknet_py.data.datafile import count_of, read_data
    return min(classes, arguments.topk or count_of(arguments.data, read_data(arguments.data), "top", 1))
