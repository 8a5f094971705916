"""The published check: does YOLOv4 reach its published accuracy on COCO?

    python scripts/coco_eval.py --coco FOLDER --download                      PASS or FAIL on val2017, at 608 x 608
    python scripts/coco_eval.py --coco FOLDER --size 416                      the same at 416 x 416
    python scripts/coco_eval.py --coco FOLDER --split test-dev2017            results to send to COCO's server
    python scripts/coco_eval.py --coco FOLDER --cfg CFG --weights WEIGHTS --expect 41.2,62.8 --within .5
    torchrun --nproc_per_node=2 scripts/coco_eval.py ...                      each process takes its share

FOLDER holds annotations/instances_val2017.json and val2017/ (or images/val2017/) with 5000 pictures; for test-dev2017
annotations/image_info_test-dev2017.json and test2017/. What is missing is fetched with --download, to FOLDER and to
--weights, goes on where an earlier try broke off, and is checked by size and SHA-256; archives that lie in FOLDER
already are unpacked. Weights that are called like official ones must be those.

Exit status: 0 for PASS, or where there is nothing to compare with; 1 for FAIL, and for anything that is wrong.
"""
from __future__ import annotations

import argparse
import json
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from coco.archives import COCO, SPLITS, Files, provide
from coco.verdict import WITHIN, as_json, expected, on_test_dev, report, shown, verdict

from darknet_py.cli.detect import device
from darknet_py.cli.measure import EvaluationInput, progress, warn
from darknet_py.data.coco import NAMES, read_coco_json
from darknet_py.data.datafile import find_names
from darknet_py.data.dataset import read_samples
from darknet_py.errors import CfgWarning, DarknetError, DataError, Reason, WeightsError
from darknet_py.evaluation.coco_ap import ids_of, read_truth
from darknet_py.evaluation.evaluate import evaluate
from darknet_py.evaluation.predict import VALID, predict
from darknet_py.evaluation.result_files import write_results
from darknet_py.inference.postprocess import PostProcessor
from darknet_py.model.network import LazyNetwork
from darknet_py.utils.device import local_device
from darknet_py.utils.distributed import World
from darknet_py.utils.files import write_file

ROOT = Path(__file__).resolve().parents[1]


def prepare(a: argparse.Namespace, files: Files, world: World) -> EvaluationInput:
    width, height = a.size
    source = LazyNetwork(a.cfg, a.weights, width=width, height=height)
    network = source.network
    if network.reached < len(network.layers):
        raise WeightsError(f"{a.weights}: holds the first {network.reached} of {len(network.layers)} layers of {a.cfg}",
                           Reason.TRUNCATED)
    classes = PostProcessor.of(network).classes
    names = list(NAMES) if a.names is None and classes == len(NAMES) else find_names(a.cfg, a.weights, classes, a.names)
    samples = [sample._replace(image=files.pictures / sample.image.name)
               for sample in read_samples(files.json, "valid", names)][:a.limit]
    return EvaluationInput(network, names, samples, {"batch": a.batch, "device": a.device, "workers": a.workers,
                                                     "world": world}, world, source)


def run_val(a: argparse.Namespace, files: Files, world: World) -> int:
    """Measure, compare, and say how it went."""
    goal = expected(a)
    measured = prepare(a, files, world)
    truth = read_truth(files.json, measured.names)
    if None in truth.categories:
        raise DataError(f"{files.json}: has no category {measured.names[truth.categories.index(None)]}, which is a "
                        f"class of {a.weights}", Reason.UNKNOWN_NAME)
    with progress(measured) as bar:
        result = evaluate(measured.network, measured.samples, measured.names,
                          truth=truth._replace(images=truth.images[:a.limit]), progress=bar.track, **measured.options)
    passed = verdict(result, goal)
    if world.is_main:
        warn(result.predictions.problems)
        print("\n".join(report(a, result, goal, passed)))
        if a.json is not None:
            write_file(a.json, json.dumps(as_json(a, result, goal, passed), indent=1).encode())
        if a.results is not None:
            write(a, files, measured, result.predictions.detections[1], result.predictions.sizes)
    return 1 if passed is False else 0


def run_test(a: argparse.Namespace, files: Files, world: World) -> int:
    """Find, and write what COCO's server measures."""
    measured = prepare(a, files, world)
    with progress(measured) as bar:
        predictions = predict(measured.network, measured.samples, measured.names, [VALID], labels=False,
                              progress=bar.track, **measured.options)
    if world.is_main:
        warn(predictions.problems)
        write(a, files, measured, predictions.detections[0], predictions.sizes)
        print(f"{len(predictions.detections[0].scores)} detections ({VALID}) in {len(measured.samples)} images; the "
              f"annotations of {a.split} are not public, so nothing is measured here.\nZip the file, and send it in: "
              "https://cocodataset.org/#upload tells how.")
        if (known := on_test_dev(a)) is not None:
            print(f"Published at {shown(a.size)} are {known[0]:.1f} AP and {known[1]:.1f} AP50 (README of "
                  "AlexeyAB/darknet).")
        print(predictions.speed())
    return 1 if predictions.problems else 0


def write(a: argparse.Namespace, files: Files, measured: EvaluationInput, found: Any, sizes: Any) -> None:
    """The results as COCO takes them."""
    images, categories = ids_of(files.json, read_coco_json(files.json), measured.names)
    name = f"detections_{a.split}_{a.weights.stem}-{shown(a.size)}_results"
    for path in write_results("coco", "results" if a.results is None else a.results, found, sizes,
                              [sample.image for sample in measured.samples], measured.names, name=name,
                              images=images[:a.limit], categories=categories):
        print(path)


def _numbers(pattern: str, kind: Callable[[str], Any], what: str) -> Callable[[str], tuple[Any, ...]]:
    def parse(text: str) -> tuple[Any, ...]:
        match = re.fullmatch(pattern, text)
        if match is None:
            raise argparse.ArgumentTypeError(f"expected {what}, found {text}")
        values = [kind(value) for value in match.groups() if value is not None]
        return tuple(values * 2 if len(values) == 1 else values)
    return parse


def parsed(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--coco", type=Path, required=True, metavar="FOLDER", help="where COCO is, or is to be")
    parser.add_argument("--split", choices=list(SPLITS), default="val2017", help="default %(default)s")
    parser.add_argument("--weights", type=Path, default=Path("yolov4.weights"), help="default %(default)s")
    parser.add_argument("--cfg", type=Path, default=ROOT / "cfg/yolov4.cfg", help="default %(default)s")
    parser.add_argument("--names", help="a file with a class name a line (default: COCO's, for 80 classes)")
    parser.add_argument("--size", default=(608, 608), metavar="PIXELS", help="side of the network's input, or WxH "
                        "(default 608)",
                        type=_numbers(r"([1-9]\d{0,4})(?:x([1-9]\d{0,4}))?", int, "a number of pixels, or WxH"))
    parser.add_argument("--download", action="store_true", help="fetch what is missing")
    parser.add_argument("--device", help="auto, cpu, cuda, cuda:0 ... (default auto)")
    parser.add_argument("--batch", type=int, help="images at a time (default: by their size)")
    parser.add_argument("--workers", type=int, help="threads that load pictures")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N images: a trial, without a verdict")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    parser.add_argument("--results", metavar="FOLDER", help="write the detections as COCO takes them (of test-dev2017 "
                        "always; default results)")
    parser.add_argument("--expect", type=_numbers(r"(\d+(?:\.\d+)?),(\d+(?:\.\d+)?)", float, "AP,AP50 in per cent"),
                        metavar="AP,AP50", help="what is to be reached on other networks or pictures, in per cent")
    parser.add_argument("--within", type=float, metavar="POINTS", help="by how much it may be missed (default "
                        f"with --expect {WITHIN:g}, else as far as others' figures lie apart)")
    parser.add_argument("--images", type=int, metavar="N", help="how many images there must be (default "
                        + ", ".join(f"{split.images} of {name}" for name, split in SPLITS.items()) + ")")
    parser.add_argument("--coco-url", default=COCO, metavar="URL", help="where COCO's archives are (default "
                        "%(default)s)")
    parser.add_argument("--weights-url", metavar="URL", help="the folder where the weights are (default: the release)")
    a = parser.parse_args(words)
    for name, least in (("batch", 1), ("workers", 0), ("limit", 1), ("images", 1), ("within", 0)):
        value = getattr(a, name)
        if value is not None and not value >= least:
            parser.error(f"--{name} needs a number from {least} on, found {value:g}")
    return a


def main(words: list[str] | None = None) -> int:
    a = parsed(words)
    world = None
    try:
        a.device = device(argparse.Namespace(device=a.device, i=None))
        world = World(local_device(a.device))
        if a.split == "val2017":
            expected(a)                         # what makes no sense costs no download
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CfgWarning)
            files = world.gather(lambda: provide(a) if world.is_main else None)[0]
            code = (run_val if a.split == "val2017" else run_test)(a, files, world)
        world.close()
        return code
    except DarknetError as error:
        if world is None or world.is_main:
            print(f"coco_eval: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("coco_eval: stopped; the same command goes on with what is fetched", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
