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
import os
import re
import shutil
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile, ZipFile

from darknet_py.cfg.language import read_cfg
from darknet_py.cli import download
from darknet_py.cli.detect import device
from darknet_py.cli.measure import EvaluationInput, progress, warn
from darknet_py.data.coco import NAMES, read_coco_json
from darknet_py.data.datafile import find_names
from darknet_py.data.dataset import read_samples
from darknet_py.errors import CfgWarning, DarknetError, DataError, Reason, WeightsError, printable
from darknet_py.evaluation.coco_ap import ids_of, read_truth
from darknet_py.evaluation.evaluate import Evaluation, evaluate
from darknet_py.evaluation.predict import VALID, predict
from darknet_py.evaluation.result_files import write_results
from darknet_py.inference.postprocess import PostProcessor
from darknet_py.model.network import load_network
from darknet_py.utils.distributed import World, local_device
from darknet_py.utils.files import replacing, write_file
from darknet_py.zoo.download import find_mismatch
from darknet_py.zoo.manifest import OFFICIAL, Published, how_to_get

ROOT = Path(__file__).resolve().parents[1]
COCO = "http://images.cocodataset.org"
# Below COCO. As tensorflow_datasets' url_checksums/coco.txt has them.
ARCHIVES = {
    "zips/val2017.zip": Published(
        (), 815_585_330, ("4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05",)),
    "annotations/annotations_trainval2017.zip": Published(
        (), 252_907_541, ("113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268",)),
    "zips/test2017.zip": Published(
        (), 6_646_970_404, ("c7908c3c9f94ba2f3340ebbeec58c25db6be8774f18d68c2f15d0e369d95baba",)),
    "annotations/image_info_test2017.zip": Published(
        (), 1_144_034, ("e52f412dd7195ac8f98d782b44c6dd30ea10241e9f42521f67610fbe055a74f8",)),
}


class Split(NamedTuple):
    """Part of COCO: how many images it has; its JSON and its folder of pictures, and the archives that hold them."""

    images: int
    json: str
    json_archive: str
    pictures: str
    pictures_archive: str


SPLITS = {
    "val2017": Split(5000, "annotations/instances_val2017.json", "annotations/annotations_trainval2017.zip", "val2017",
                     "zips/val2017.zip"),
    "test-dev2017": Split(20288, "annotations/image_info_test-dev2017.json", "annotations/image_info_test2017.zip",
                          "test2017", "zips/test2017.zip"),
}


class Expected(NamedTuple):
    """AP and AP50 in per cent, how many points they may be missed by, and who says so."""

    ap: float
    ap50: float
    within: float
    source: str


TEST_DEV = {figures.size: (figures.ap, figures.ap50) for figures in OFFICIAL["yolov4.weights"].figures}
WITHIN = .5             # points, for --expect
VAL = {                 # (weights, size): measured by others on val2017
    # yolov4.weights have seen pictures of val2017 in training (trainvalno5k), so they do better there than on test-dev
    ("yolov4.weights", 416): Expected(47.1, 71., .7, "what others measured on val2017 (46.6 to 47.2 AP, 70.4 to 71.0 "
                                      "AP50), some of whose pictures these weights were trained on"),
    ("yolov4.weights", 608): Expected(50.6, 73.9, 1., "what others measured on val2017, some of whose pictures these "
                                      "weights were trained on"),
    # trained on train2017 alone
    ("yolov4-tiny.weights", 416): Expected(20.1, 40., 1., "what others measured on val2017"),
}


def expected(a: argparse.Namespace) -> Expected | None:
    """What is to be reached on val2017; None where only a part of it is looked at.

    Raises:
        DarknetError: nothing is known of these weights at this size.
    """
    if a.expect is not None:
        return Expected(*a.expect, WITHIN if a.within is None else a.within, "as given with --expect")
    if a.limit is not None:
        return None
    width, height = a.size
    found = VAL.get((a.weights.name, width)) if width == height else None
    if found is None:
        known = ", ".join(f"{name} at {size}" for name, size in VAL)
        raise DarknetError(f"{a.weights}: figures on val2017 are known of {known}, found {a.weights.name} at "
                           f"{_shown(a.size)}; say with --expect AP,AP50 what to reach")
    return found if a.within is None else found._replace(within=a.within)


def on_test_dev(a: argparse.Namespace) -> tuple[float, float] | None:
    """Published AP and AP50."""
    width, height = a.size
    return TEST_DEV.get(width) if a.weights.name == "yolov4.weights" and width == height else None


class Files(NamedTuple):
    """What lies on the disk."""

    json: Path
    pictures: Path


def provide(a: argparse.Namespace) -> Files:
    """See that everything is there, and is what it should be."""
    read_cfg(a.cfg)
    split = SPLITS[a.split]
    provide_weights(a)
    path = a.coco / split.json
    if not path.exists():
        unzip(archive(a, split.json_archive, path), split.json, path)
    folders = [a.coco / split.pictures, a.coco / "images" / split.pictures]
    folder = next((folder for folder in folders if folder.is_dir()), folders[0])
    if not folder.exists():
        unzip(archive(a, split.pictures_archive, folder), split.pictures, folder)
    check_images(a, path, folder)
    return Files(path, folder)


def provide_weights(a: argparse.Namespace) -> None:
    facts = OFFICIAL.get(a.weights.name)
    if not a.weights.exists():
        if facts is None or not a.download:
            raise WeightsError(f"{a.weights}: no such weights file; {how_to_get(a.weights)}"
                               f"{'' if facts is None else ', or have it fetched with --download'}",
                               Reason.MISSING_FILE)
        fetch(a.weights, facts if a.weights_url is None else
              facts._replace(urls=(f"{a.weights_url}/{a.weights.name}",)))
    if facts is not None and (wrong := find_mismatch(a.weights, facts.size, facts.sha256)) is not None:
        raise WeightsError(f"{a.weights}: not the official {a.weights.name}: {wrong}; take it away, and have it "
                           "fetched with --download", Reason.CORRUPT)


def archive(a: argparse.Namespace, name: str, target: Path) -> Path:
    """The path of one of COCO's archives, that ``target`` is in."""
    path, facts, url = a.coco / Path(name).name, ARCHIVES[name], f"{a.coco_url}/{name}"
    if not path.exists() and not a.download:
        raise DataError(f"{target}: not there; have it fetched with --download ({facts.size / 1e6:.0f} MB), or get "
                        f"{url} in another way, and put it into {a.coco}", Reason.MISSING_FILE)
    fetch(path, facts._replace(urls=(url,)))
    return path


def fetch(path: Path, facts: Published) -> None:
    print(download.fetch(path, facts), file=sys.stderr)


def unzip(path: Path, member: str, target: Path) -> None:
    """The file ``member`` of an archive, or the files in the folder ``member``, as ``target``: whole or not at all."""
    temporary = target.with_name(f"{target.name}.tmp{os.getpid()}")
    print(f"{path}: unpacking {member}", file=sys.stderr, flush=True)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with ZipFile(path) as zipped:
            names = zipped.namelist()
            inside = [name for name in names if name.startswith(f"{member}/") and not name.endswith("/")]
            if member in names:
                with zipped.open(member) as source, replacing(target) as file:
                    shutil.copyfileobj(source, file)
                return
            if not inside:
                raise DataError(printable(f"{path}: expected {member} in it, found {names[0] if names else 'nothing'}"),
                                Reason.WRONG_FORMAT)
            temporary.mkdir()
            for name in inside:
                plain = name.removeprefix(f"{member}/")
                if not re.fullmatch(r"\w[\w.-]*", plain):           # nothing that leads elsewhere
                    raise DataError(printable(f"{path}: expected pictures in {member}/, found {name}"),
                                    Reason.WRONG_FORMAT)
                with zipped.open(name) as source, open(temporary / plain, "wb") as file:
                    shutil.copyfileobj(source, file)
        temporary.rename(target)
    except OSError as error:
        raise DataError(f"{target}: cannot be unpacked from {path}: {error.strerror or error}",
                        Reason.UNWRITABLE) from None
    except (BadZipFile, EOFError, NotImplementedError, RuntimeError, zlib.error) as error:
        raise DataError(f"{path}: cannot be unpacked: {error}", Reason.CORRUPT) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_images(a: argparse.Namespace, path: Path, folder: Path) -> None:
    """Whether all pictures are there, so far as they are asked for."""
    images = read_coco_json(path)["images"]
    count = SPLITS[a.split].images if a.images is None else a.images
    if len(images) != count:
        raise DataError(f"{path}: expected the {count} images of {a.split}, found {len(images)} (--images for others)",
                        Reason.WRONG_COUNT)
    try:
        there = set(os.listdir(folder))
        missing = [name for image in images[:a.limit] if (name := str(image["file_name"])) not in there]
    except OSError as error:
        raise DataError(f"{folder}: cannot read the folder: {error.strerror}", Reason.UNREADABLE) from None
    except (KeyError, TypeError):
        raise DataError(f"{path}: expected images, each with file_name", Reason.WRONG_FORMAT) from None
    if missing:
        raise DataError(printable(f"{folder}: {len(missing)} of {len(images)} pictures are missing, the first is "
                                  f"{missing[0]}; take the folder away, and have it fetched with --download"),
                        Reason.MISSING_FILE)


def prepare(a: argparse.Namespace, files: Files, world: World) -> EvaluationInput:
    width, height = a.size
    network = load_network(a.cfg, a.weights, width=width, height=height)
    if network.reached < len(network.layers):
        raise WeightsError(f"{a.weights}: holds the first {network.reached} of {len(network.layers)} layers of {a.cfg}",
                           Reason.TRUNCATED)
    classes = PostProcessor.of(network).classes
    names = list(NAMES) if a.names is None and classes == len(NAMES) else find_names(a.cfg, a.weights, classes, a.names)
    samples = [sample._replace(image=files.pictures / sample.image.name)
               for sample in read_samples(files.json, "valid", names)][:a.limit]
    return EvaluationInput(network, names, samples, {"batch": a.batch, "device": a.device, "workers": a.workers,
                                                     "world": world}, world)


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
    if world.leads:
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
    if world.leads:
        warn(predictions.problems)
        write(a, files, measured, predictions.detections[0], predictions.sizes)
        print(f"{len(predictions.detections[0].scores)} detections ({VALID}) in {len(measured.samples)} images; the "
              f"annotations of {a.split} are not public, so nothing is measured here.\nZip the file, and send it in: "
              "https://cocodataset.org/#upload tells how.")
        if (known := on_test_dev(a)) is not None:
            print(f"Published at {_shown(a.size)} are {known[0]:.1f} AP and {known[1]:.1f} AP50 (README of "
                  "AlexeyAB/darknet).")
        print(predictions.speed())
    return 1 if predictions.problems else 0


def write(a: argparse.Namespace, files: Files, measured: EvaluationInput, found: Any, sizes: Any) -> None:
    """The results as COCO takes them."""
    images, categories = ids_of(files.json, read_coco_json(files.json), measured.names)
    name = f"detections_{a.split}_{a.weights.stem}-{_shown(a.size)}_results"
    for path in write_results("coco", "results" if a.results is None else a.results, found, sizes,
                              [sample.image for sample in measured.samples], measured.names, name=name,
                              images=images[:a.limit], categories=categories):
        print(path)


def verdict(result: Evaluation, goal: Expected | None) -> bool | None:
    """Whether what was expected is reached, neither less nor more; None where nothing was."""
    if goal is None:
        return None
    return unread(result) == 0 and all(abs(row[3]) <= goal.within + 1e-9 for row in rows(result, goal))


def rows(result: Evaluation, goal: Expected) -> Iterator[tuple[str, float, float, float]]:
    """Name, measured, expected and difference, in per cent."""
    for name, value in (("AP", goal.ap), ("AP50", goal.ap50)):
        measured = 100 * max(0, result.coco.figures[name])
        yield name, measured, value, measured - value


def unread(result: Evaluation) -> int:
    return int((result.predictions.sizes[:, 0] == 0).sum())


def report(a: argparse.Namespace, result: Evaluation, goal: Expected | None, passed: bool | None) -> Iterator[str]:
    """The figures, and how they compare."""
    facts, count = OFFICIAL.get(a.weights.name), len(result.predictions.sizes)
    known = "not one of the official weights" if facts is None else \
        "size as published, SHA-256 not known" if not facts.sha256 else "size and SHA-256 as published"
    yield f"{a.split}: {count} images; {a.cfg} at {_shown(a.size)}; {a.weights} ({known}); {result.coco.settings}"
    yield ""
    if goal is not None:
        yield f"{'figure':<8}{'measured':>10}{'expected':>10}{'difference':>12}{'tolerance':>11}"
        for name, measured, value, difference in rows(result, goal):
            yield f"{name:<8}{measured:>10.2f}{value:>10.2f}{difference:>+12.2f}{goal.within:>11.2f}"
        yield ""
        yield f"Expected is {goal.source}."
    yield "All figures: " + ", ".join(f"{name} {'-' if value < 0 else f'{100 * value:.2f}'}"
                                      for name, value in result.coco.figures.items())
    yield f"Darknet's own measure ({result.settings}): mAP@0.50 {100 * result.map.map:.2f}"
    yield result.predictions.speed()
    if passed is None:
        yield f"No verdict: these are only {count} of the images (--expect AP,AP50 says what they should give)"
    elif unread(result):
        yield f"FAIL: {unread(result)} of {count} images cannot be read"
    else:
        yield "PASS" if passed else "FAIL"


def as_json(a: argparse.Namespace, result: Evaluation, goal: Expected | None, passed: bool | None) -> dict[str, Any]:
    return {"split": a.split, "images": len(result.predictions.sizes), "unread": unread(result), "cfg": str(a.cfg),
            "weights": str(a.weights), "size": list(a.size), "reading": result.coco.settings,
            "measured": {name: None if value < 0 else 100 * value for name, value in result.coco.figures.items()},
            "darknet_map": 100 * result.map.map, "expected": None if goal is None else goal._asdict(), "passed": passed,
            "seconds": result.predictions.seconds, "network_seconds": result.predictions.network_seconds}


def _shown(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


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
            files = world.gather(lambda: provide(a) if world.leads else None)[0]
            code = (run_val if a.split == "val2017" else run_test)(a, files, world)
        world.close()
        return code
    except DarknetError as error:
        if world is None or world.leads:
            print(f"coco_eval: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("coco_eval: stopped; the same command goes on with what is fetched", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
