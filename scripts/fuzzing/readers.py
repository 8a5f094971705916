"""The readers that are fuzzed: a table of what takes which files, with valid ones to begin with."""
from __future__ import annotations

import contextlib
import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch

from darknet_py.cfg.language import parse_cfg, read_cfg
from darknet_py.cfg.metadata import stored_cfg
from darknet_py.cli import main
from darknet_py.data.classification import ClassifierPictures
from darknet_py.data.coco import coco_names, read_coco
from darknet_py.data.datafile import count_of, find_names, read_data, read_names
from darknet_py.data.dataset import LINE_FORMS, SPLITS, Sample, class_names, own_splits, read_objects, read_samples
from darknet_py.data.image import read_image
from darknet_py.data.text import Text
from darknet_py.errors import DarknetError
from darknet_py.evaluation.coco_ap import read_truth
from darknet_py.evaluation.evaluate import evaluate
from darknet_py.inference.detections import Detections
from darknet_py.inference.detector import Detector
from darknet_py.inference.preprocess import as_input
from darknet_py.model.network import Network, load_network
from darknet_py.model.summary import layer_table, summarize
from darknet_py.model.tensors import fill, read_tensors
from darknet_py.ops.nms import NMS_KINDS, nms
from darknet_py.prepare.sources import merge, read_source
from darknet_py.training.curves import write_table
from darknet_py.training.report import Report, read_log
from darknet_py.training.search_space import find_ranges
from darknet_py.training.settings import Settings
from darknet_py.training.trainer import Run
from darknet_py.zoo.manifest import read_manifest
from fuzzing import seeds, texts

NAMES = ("light", "dark")
SMALL = 1 << 16             # weights of a network that is built and run, and bytes of its outputs
FEW = 4                     # time steps, samples, names
MOST_BOXES = 10_647         # those of YOLOv3 at 416 x 416; the work grows with their square, whatever they are
QUIET = Settings(device="cpu", seed=0, workers=0, charts=None, report=False, backup="backup")


ABOVE = re.compile(rb"(?<![\w.-])/+|\.\.+")


def inside(data: bytes) -> bytes:
    """An input without paths from the root, and to folders above: whoever gives one asks for a walk over the disk."""
    return ABOVE.sub(b"", data)


@dataclass(frozen=True)
class Reader:
    """What takes an input.

    seeds: makes valid inputs. read: takes the path of the file. file: its name in the working directory. wrap: makes
    the file of an input that is only a part of it, so that what is around the part fits it. binary: see ``Mutator``.
    """

    seeds: Callable[[], Sequence[bytes]]
    read: Callable[[Path], object]
    file: str
    wrap: Callable[[bytes], bytes] = bytes
    binary: bool = False


def every(*calls: Callable[[], object]) -> None:
    """Make all calls, and raise the first DarknetError afterwards."""
    first = None
    for call in calls:
        try:
            call()
        except DarknetError as error:
            first = error if first is None else first
    if first is not None:
        raise first


def cfg(path: Path) -> None:
    """Parse, plan, and summarize as ``info``; build and run what is small."""
    text = read_cfg(path)
    with torch.device("meta"):
        network = Network(text)
    list(layer_table(network))
    summary = summarize(network)
    if max(summary.parameters, summary.outputs_kept) <= SMALL and network.options.time_steps <= FEW:
        with torch.no_grad():
            load_network(text)(torch.rand(network.options.time_steps, *network.input_shape))


def stored(path: Path) -> None:
    """Parse and plan the cfg in a model, and name its classes."""
    with torch.device("meta"):
        network = Network(stored_cfg(path))
    find_names(path, None, len(NAMES))
    list(layer_table(network))


@cache
def tiny_cfg():
    return parse_cfg(texts.TINY, "tiny.cfg")


def weights(path: Path) -> None:
    """Load, detect, draw, and write as JSON."""
    found = Detector(tiny_cfg(), path, NAMES, thresh=.01)(seeds.picture())
    found.draw(seeds.picture())
    found.to_json()


def labels(path: Path) -> None:
    for form in LINE_FORMS:
        read_objects(Sample(Path("a.png"), path, None, "list.txt:1", form), len(NAMES))


def names(path: Path) -> None:
    """Read, draw, and print."""
    found = find_names(None, None, max(1, len(read_names(path))), path)
    count = min(len(found), FEW)
    rows = np.arange(4 * count, dtype=np.float32).reshape(count, 4)
    detections = Detections(rows, np.full(count, .5, np.float32), np.arange(count), found, (20, 24))
    detections.draw(seeds.picture())
    detections.to_json()


def rows_of(samples: Sequence[Sample]) -> None:
    for sample in samples[:FEW]:
        read_objects(sample, len(NAMES))


def data(path: Path) -> None:
    every(*(lambda split=split: rows_of(read_samples(path, split)) for split in SPLITS),
          lambda: class_names(path), lambda: own_splits(path), lambda: ClassifierPictures.from_data(path),
          lambda: count_of(path, read_data(path), "savelast", 1))


def source(path: Path) -> None:
    """What the verb dataset reads, and its classes merged."""
    merge([read_source(path)], {})


def coco(path: Path) -> None:
    every(lambda: coco_names(path), lambda: read_coco(path), lambda: read_coco(path, NAMES),
          lambda: read_truth(path, NAMES), lambda: source(path))


def coco_evaluation(path: Path) -> None:
    evaluate(seeds.tiny(), read_samples(path, "valid", NAMES), NAMES, truth=read_truth(path, NAMES), workers=1)


def tensors(path: Path) -> None:
    network = load_network(tiny_cfg())
    fill(network, read_tensors(path), path)


@cache
def run_files() -> tuple[bytes, bytes]:
    """The weights and the state of a run, after an iteration; in the working directory."""
    for _ in Run("tiny.data", "tiny.cfg", None, Settings(**vars(QUIET) | {"stop_after": 1})):
        pass
    return tuple(Path(f"backup/tiny_last.{kind}").read_bytes() for kind in ("weights", "state"))    # type: ignore


def facts() -> list[bytes]:
    """The facts of a state, which are JSON within JSON."""
    return [json.loads(seeds.header_of(run_files()[1]))["__metadata__"]["run"].encode()]


def with_facts(text: bytes) -> bytes:
    """A state with other facts."""
    state = run_files()[1]
    size = len(header := seeds.header_of(state))
    table = json.loads(header)
    table["__metadata__"]["run"] = text.decode("utf-8", "replace")
    changed = json.dumps(table).encode()
    return len(changed).to_bytes(8, "little") + changed + state[8 + size:]


def state(path: Path) -> None:
    """Resume."""
    Path("backup/tiny_last.weights").write_bytes(run_files()[0])
    Path("backup/tiny_final.weights").unlink(missing_ok=True)
    Run("tiny.data", "tiny.cfg", None, QUIET).close()


def log(path: Path) -> None:
    """Make a table of it, and go on with it."""
    write_table(read_log(path), ["16 iou"], "input.csv")
    Report("input", ".", 100, iteration=100).close()


def image(path: Path) -> None:
    """Decode, and fit into a network's input in both ways."""
    every(*(lambda channels=channels, letterbox=letterbox: as_input(
        read_image(path, channels), seeds.tiny().input_shape, letterbox) for channels, letterbox in ((3, 0), (1, 1))))


def tree(path: Path) -> None:
    with torch.no_grad():
        network = load_network(parse_cfg(texts.REGION, "region.cfg"))
        output, = network(torch.rand(1, *network.input_shape))
        network.detection_heads[0].decode(output, 8, 8, .1, .1)


def class_map(path: Path) -> None:
    Path("input.tree").write_bytes(texts.TREE)
    load_network(parse_cfg(f"{texts.REGION}map={path}\n", "region.cfg"))


def suppression(path: Path) -> None:
    found = path.read_bytes()
    kind, classes = NMS_KINDS[found[0] % 4] if found else "default", 1 + found[1] % 8 if found[1:] else 1
    numbers = np.frombuffer(found[2:], np.float32, min(len(found[2:]) // 4, MOST_BOXES * (4 + classes)))
    table = torch.from_numpy(numbers[:len(numbers) // (4 + classes) * (4 + classes)].copy()).view(-1, 4 + classes)
    nms(table[:, :4], table[:, 4:], .45, kind)


def text(path: Path) -> None:
    Text(path, 128).sequences(np.zeros(2, np.int64), 3)


def ranges(path: Path) -> None:
    """The keys of ``tune -params``."""
    find_ranges(seeds.tiny(), path.read_text("utf-8", "surrogateescape").split("\n"))


def command(line: str) -> Callable[[Path], None]:
    """A command line whose words {0}, {1} ... are lines of the input, and {} all of its lines."""
    def read(path: Path) -> None:
        given = path.read_text("utf-8", "surrogateescape").split("\n")
        given = [word.replace("\0", "") for word in given]          # which no command line can have
        words = []
        for word in line.split():
            before, brace, number = word.rstrip("}").partition("{")
            if brace and number == "":
                words += [f" {word}" if word.startswith("-") else word for word in given]
            elif not brace or int(number) < len(given):
                words.append(before + given[int(number)] if brace else word)
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = main(words)
            except SystemExit as stop:                              # argparse
                code = stop.code
        if code not in (0, 1, 2):
            raise AssertionError(f"exit status {code}")
        if code:
            raise DarknetError(([*err.getvalue().strip("\n").split("\n")])[-1] or "no message\n")
    return read


def words(verb: str, line: str) -> Reader:
    return Reader(lambda: texts.WORDS[verb], command(line), "input.words")


READERS = {
    "cfg": Reader(lambda: [text.encode() for text in texts.CFGS], cfg, "input.cfg"),
    "weights": Reader(seeds.weights, weights, "input.weights", binary=True),
    "labels": Reader(lambda: texts.LABELS, labels, "input.txt"),
    "names": Reader(lambda: [b"light\ndark\n", b"traffic light\n\nx\n"], names, "input.names"),
    "data": Reader(lambda: [texts.DATA], data, "input.data", inside),
    "list": Reader(lambda: [b"a.png\nb.png\n", b"pictures/light.png\n"],
                   lambda path: every(lambda: rows_of(read_samples(path)), lambda: source(path)), "input.txt", inside),
    "coco": Reader(lambda: [json.dumps(texts.COCO).encode()], coco, "input.json"),
    "coco-evaluation": Reader(lambda: [json.dumps(texts.COCO).encode()], coco_evaluation, "input.json"),
    "voc": Reader(lambda: [texts.VOC], lambda _: source(Path("voc")), "voc/Annotations/input.xml"),
    "cvat": Reader(lambda: [texts.CVAT], source, "input.xml"),
    "yaml": Reader(lambda: texts.YAML, source, "input.yaml", inside),
    "checkpoint": Reader(seeds.checkpoints, tensors, "input.pt", binary=True),
    "pickle": Reader(seeds.pickles, tensors, "input.pt", seeds.with_pickle, binary=True),
    "safetensors": Reader(seeds.safetensors, tensors, "input.safetensors", binary=True),
    "safetensors-header": Reader(lambda: [seeds.header_of(data) for data in seeds.safetensors()], tensors,
                                 "input.safetensors", seeds.with_header),
    "onnx": Reader(seeds.onnx_models, stored, "input.onnx", binary=True),
    "onnx-texts": Reader(seeds.onnx_models, stored, "input.onnx"),
    "openvino": Reader(seeds.openvino_models, stored, "input.xml"),
    "torchscript": Reader(seeds.torch_models, stored, "input.torchscript", binary=True),
    "state": Reader(lambda: [run_files()[1]], state, "backup/tiny_last.state", binary=True),
    "state-facts": Reader(facts, state, "backup/tiny_last.state", with_facts),
    "log": Reader(lambda: [texts.LOG], log, "input_log.jsonl"),
    "image": Reader(seeds.images, image, "input.png", binary=True),
    "png": Reader(seeds.pngs, image, "input.png", seeds.with_sums, binary=True),
    "tree": Reader(lambda: [texts.TREE], tree, "input.tree"),
    "map": Reader(lambda: [b"0\n1\n2\n3\n4\n", b"0\n1\n0\n"], class_map, "input.map"),
    "boxes": Reader(seeds.boxes, suppression, "input.boxes", binary=True),
    "text": Reader(lambda: [b"to be or not to be\n" * 3], text, "input.txt"),
    "manifest": Reader(lambda: [json.dumps(texts.MANIFEST).encode()], read_manifest, "input.json"),
    "edit": words("edit", "edit tiny.cfg {} -o out.cfg -force"),
    "new": words("new", "new yolov4-tiny -classes={0} -size={1} -memory={2} -o out.cfg -force"),
    "dataset": words("dataset", "dataset tiny.data -split={0} -remap={1} -seed={2} -o out -force"),
    "calc_anchors": words("calc_anchors", "detector calc_anchors tiny.data -num_of_clusters={0} -width={1} "
                                          "-height={2}"),
    "info": words("info", "info tiny.cfg -width={0} -height={1}"),
    "detect": words("detect", "detect tiny.cfg tiny.weights a.png -thresh={0} -nms={1} -hier={2} -pictures out.png"),
    "map-options": words("map", "detector map tiny.data tiny.cfg tiny.weights -iou_thresh={0} -points={1} -thresh={2} "
                                "-nms={3} -i -1"),
    "partial": words("partial", "partial tiny.cfg tiny.weights out.weights {}"),
    "visualize": words("visualize", "visualize tiny.cfg tiny.weights out.png -layer={0}"),
    "params": Reader(lambda: texts.WORDS["params"], ranges, "input.words"),
}
