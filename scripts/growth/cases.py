"""What scaling.py lets grow: each case makes inputs of a size and gives the function that is measured."""
from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

SEED = 0
RANKED = 2000           # pictures that one or two ranks share
SIDE = 64, 48           # of the pictures of batch, in pixels
FILES = 24              # different ones
NETWORK = "[net]\nwidth=8\nheight=8\nchannels=3\nbatch=1\n"
THOUSANDS, ALL_THOUSANDS = (10 ** 3, 10 ** 4, 10 ** 5), (10 ** 3, 10 ** 4, 10 ** 5, 10 ** 6)
TOY = (10, 20, 40)


class Outside(NamedTuple):
    """What a measured function knows better than its process: bytes at most, wherever they are, and other figures."""

    peak: int | None
    facts: dict[str, Any]


class Case(NamedTuple):
    """A row of the table.

    name: as --only chooses it. part: of the plot, "" for none. unit: of a size. sizes: of a whole run; toy: of --toy.
    build: takes a size and an empty folder, which is the working directory; what it returns is measured.
    """

    name: str
    part: str
    unit: str
    sizes: tuple[int, ...]
    build: Callable[[int, Path], Callable[[], object]]
    toy: tuple[int, ...] = TOY


def batch(count: int, folder: Path, ranks: int = 1) -> Callable[[], Outside]:
    """`batch` over pictures of noise, by a tiny network."""
    import cv2
    from benchmarks.batch import batch as run_batch
    from benchmarks.batch import linked
    from killing.cases import CFG

    from darknet_py import load_network
    from darknet_py.tools.benchmark import worker_environment
    rng, files = np.random.default_rng(SEED), [folder / f"{number}.jpg" for number in range(FILES)]
    for file in files:
        cv2.imwrite(str(file), cv2.resize(rng.integers(0, 256, (6, 8, 3), np.uint8), SIDE))
    cfg, weights = folder / "tiny.cfg", folder / "tiny.weights"
    cfg.write_text(CFG)
    torch.manual_seed(SEED)
    load_network(cfg).save_weights(weights)
    pictures = linked(files, count, folder / "pictures")

    def run() -> Outside:
        found = run_batch(str(cfg), str(weights), pictures, "pytorch", worker_environment(folder), ranks=ranks)
        out = folder / "out"
        return Outside(found["peak"], {
            "pictures_per_second": found["rate"], "wall_seconds": found["wall"],
            "output_bytes": sum(path.stat().st_size for path in out.rglob("*") if path.is_file())})
    return run


def boxes_of(count: int, pattern: str) -> Tensor:
    """(count, 4) cxcywh. apart: none overlaps. spread: as large as objects, anywhere. heaps: around 100 objects."""
    draw = torch.Generator().manual_seed(SEED)
    centre, more = torch.rand(count, 2, generator=draw), torch.rand(count, 2, generator=draw)
    if pattern == "apart":
        side, place = int(np.ceil(count ** .5)), torch.arange(count)
        return torch.cat([(torch.stack([place % side, place // side], 1) + .5) / side,
                          torch.full((count, 2), .5 / side)], 1)
    if pattern == "spread":
        return torch.cat([centre, more * .05 + .03], 1)
    middle = torch.rand(100, 2, generator=draw)[torch.arange(count) % 100]
    return torch.cat([middle + .01 * torch.randn(count, 2, generator=draw), more * .02 + .08], 1)


def suppression(kind: str, pattern: str, classes: int = 1) -> Callable[[int, Path], Callable[[], object]]:
    """NMS; of many classes a box has a score in one of ten."""
    def build(count: int, folder: Path) -> Callable[[], object]:
        from darknet_py.ops.nms import nms
        boxes, draw = boxes_of(count, pattern), torch.Generator().manual_seed(SEED + 1)
        scores = torch.rand(count, classes, generator=draw)
        if classes > 1:
            scores[torch.rand(count, classes, generator=draw) > .1] = 0
        return lambda: nms(boxes, scores, .45, kind)
    return build


def decoding(classes: int, folder: Path) -> Callable[[], object]:
    """The outputs of a [yolo] of 13 x 13 cells, of which one in ten has an object, and NMS."""
    from darknet_py.cfg.language import parse_cfg
    from darknet_py.inference.postprocess import PostProcessor
    from darknet_py.model.network import Network
    filters = 3 * (5 + classes)
    network = Network(parse_cfg(
        "[net]\nwidth=13\nheight=13\nchannels=3\n[convolutional]\nsize=1\nstride=1\nactivation=linear\n"
        f"filters={filters}\n[yolo]\nmask=0,1,2\nanchors=2,2,4,4,6,6\nnum=3\nclasses={classes}\n"))
    post, draw = PostProcessor.of(network), torch.Generator().manual_seed(SEED)
    values = torch.rand(1, 3, 5 + classes, 13 * 13, generator=draw)
    values[:, :, 4] = (values[:, :, 4] > .9) * .9
    values[:, :, 5:] **= 20                 # most classes are unlikely
    outputs = [values.reshape(1, filters, 13, 13)]
    return lambda: post.find_boxes(outputs, [(480, 640)], .25, .45)


def tables(count: int, classes: int, images: int) -> tuple[Any, Any]:
    """Detections near as many objects."""
    from darknet_py.evaluation.matching import DetectionTable, GroundTruth
    rng = np.random.default_rng(SEED)
    owner, labels = np.arange(count) % images, rng.integers(0, classes, count)
    boxes = np.concatenate([rng.random((count, 2)), rng.random((count, 2)) * .2 + .05], 1).astype(np.float32)
    return (DetectionTable(owner, labels, rng.random(count).astype(np.float32), boxes + np.float32(.01)),
            GroundTruth(owner, labels, boxes, np.zeros(count, bool)))


def darknet_map(count: int, classes: int) -> Callable[[], object]:
    from darknet_py.evaluation.darknet_map import average_precision
    found, truth = tables(count, classes, max(1, count // 10))
    return lambda: average_precision(found, truth, list(map(str, range(classes))))


def coco_ap(count: int, classes: int) -> Callable[[], object]:
    from darknet_py.evaluation.coco_ap import coco_average_precision
    images = max(1, count // 10)
    found, truth = tables(count, classes, images)
    return lambda: coco_average_precision(found, truth, np.full((images, 2), 500), list(map(str, range(classes))))


def layers(count: int, folder: Path) -> Callable[[], object]:
    """Parse, build, forward."""
    from darknet_py.cfg.language import parse_cfg
    from darknet_py.model.network import Network
    text = NETWORK + "[convolutional]\nfilters=4\nsize=1\nstride=1\nactivation=leaky\n" * count
    x = torch.rand(1, 3, 8, 8)

    def run() -> object:
        with torch.no_grad():
            return Network(parse_cfg(text)).eval()(x)
    return run


def sections(count: int, folder: Path) -> Callable[[], object]:
    from darknet_py.cfg.language import read_cfg
    Path("many.cfg").write_text(NETWORK + "[maxpool]\nsize=2\nstride=1\n" * count)
    return lambda: read_cfg("many.cfg")


def edits(count: int, folder: Path) -> Callable[[], object]:
    from darknet_py.cfg.language import parse_cfg
    cfg = parse_cfg(NETWORK + "[maxpool]\nsize=2\n" * count)
    return lambda: cfg.with_values({(section, "stride"): 1 for section in range(1, count + 1)})


def coco_json(count: int, folder: Path) -> Callable[[], object]:
    from darknet_py.data.coco import read_coco
    images = max(1, count // 7)
    Path("a.json").write_text(json.dumps({
        "images": [{"id": image, "file_name": f"{image:012d}.jpg", "width": 640, "height": 480}
                   for image in range(images)],
        "categories": [{"id": number, "name": str(number)} for number in range(1, 81)],
        "annotations": [{"id": number, "image_id": number % images, "category_id": 1 + number % 80, "area": 3000.,
                         "bbox": [10.5, 10.5, 50.25, 60.25], "iscrowd": 0} for number in range(count)]}))
    return lambda: read_coco("a.json")


def label_file(count: int, folder: Path) -> Callable[[], object]:
    from darknet_py.data.dataset import Sample, read_objects
    Path("a.txt").write_text("0 .5 .5 .1 .1\n" * count)
    return lambda: read_objects(Sample(Path("a.jpg"), Path("a.txt"), None, "list.txt:1"), 1)


def list_file(reader: str) -> Callable[[int, Path], Callable[[], object]]:
    """The paths of a list, or its samples, whose label files are named too."""
    def build(count: int, folder: Path) -> Callable[[], object]:
        from darknet_py.data.dataset import read_samples
        from darknet_py.data.lists import list_paths
        Path("list.txt").write_text("".join(f"images/{number:07d}.jpg\n" for number in range(count)))
        return lambda: (read_samples if reader == "samples" else list_paths)("list.txt")
    return build


def label_files(count: int, folder: Path) -> Callable[[], object]:
    """A data set of pictures with a label file each."""
    from darknet_py.data.dataset import read_rows, read_samples
    for number in range(count):
        if number % 1000 == 0:
            (place := Path(f"labels/{number // 1000:04d}")).mkdir(parents=True)
        (place / f"{number:07d}.txt").write_text("0 .5 .5 .1 .1\n" * 3)
    Path("list.txt").write_text("".join(f"images/{number // 1000:04d}/{number:07d}.jpg\n" for number in range(count)))
    return lambda: [read_rows(sample, 1) for sample in read_samples("list.txt")]


def wide_picture(count: int, folder: Path) -> Callable[[], object]:
    """A picture of 20 lines of so many pixels, to 416 x 416."""
    from darknet_py.data.image import resize
    image = np.random.default_rng(SEED).integers(0, 256, (20, count, 3), np.uint8)
    return lambda: resize(image, 416, 416)


def drawing(count: int, folder: Path) -> Callable[[], object]:
    from darknet_py.viz.draw import draw_detections
    rng = np.random.default_rng(SEED)
    low = rng.random((count, 2)) * (1600, 900)
    boxes = np.concatenate([low, low + rng.random((count, 2)) * 200], 1)
    image, scores, labels = np.zeros((1080, 1920, 3), np.uint8), rng.random(count), np.zeros(count, int)
    return lambda: draw_detections(image, boxes, labels, scores, ["object"])


def tracking(way: str) -> Callable[[int, Path], Callable[[], object]]:
    """Ten frames of objects that move a little."""
    def build(count: int, folder: Path) -> Callable[[], object]:
        from darknet_py.inference.detections import Detections
        from darknet_py.live.embedding_tracker import EmbeddingOptions
        from darknet_py.live.results import Result
        from darknet_py.live.tracking import TrackByByteTrack, TrackByEmbeddings
        rng, side = np.random.default_rng(SEED), int(np.ceil(count ** .5))
        place = np.stack(np.divmod(np.arange(count), side), 1) * 100.
        embeddings, labels = rng.normal(size=(count, 64)).astype(np.float32), np.zeros(count, int)
        scores, picture = np.full(count, .9, np.float32), np.zeros((1, 1, 3), np.uint8)

        def run() -> None:
            step = (TrackByByteTrack(.25, 25, False) if way == "bytetrack" else
                    TrackByEmbeddings(EmbeddingOptions(), 1))
            for frame in range(10):
                low = place + 2 * frame
                found = Detections(np.concatenate([low, low + 60], 1).astype(np.float32), scores, labels, ["object"],
                                   (100 * side, 100 * side), embeddings=embeddings)
                step(Result(frame, frame / 25, frame / 25, found, picture, 0))
        return run
    return build


HUNDREDS = (10 ** 2, 10 ** 3, 10 ** 4, 10 ** 5)
MANY_CLASSES = (1, 10, 100, 1000, 9000)
KINDS = ("default", "greedynms", "diounms", "cornersnms")
CASES = (
    Case("batch", "pictures", "pictures", THOUSANDS, batch, (2, 4)),
    Case("batch by ranks", "", "ranks", (1, 2), lambda ranks, folder: batch(RANKED, folder, ranks), ()),
    *(Case(f"nms {kind}, boxes spread", "boxes", "boxes", HUNDREDS, suppression(kind, "spread")) for kind in KINDS),
    Case("nms greedynms, boxes apart", "boxes", "boxes", HUNDREDS, suppression("greedynms", "apart")),
    Case("nms greedynms, boxes in heaps", "boxes", "boxes", HUNDREDS, suppression("greedynms", "heaps")),
    Case("nms greedynms, 80 classes, spread", "boxes", "boxes", (10 ** 2, 10 ** 3, 10 ** 4, 3 * 10 ** 4),
         suppression("greedynms", "spread", 80)),
    Case("decoding and nms", "classes", "classes", MANY_CLASSES, decoding),
    Case("mAP of 20,000 objects", "classes", "classes", MANY_CLASSES,
         lambda classes, folder: darknet_map(20_000, classes)),
    Case("COCO's AP of 2,000 objects", "classes", "classes", MANY_CLASSES[:4],
         lambda classes, folder: coco_ap(2000, classes)),
    Case("parse, build, forward", "cfg", "layers", (10, 100, 1000, 2000), layers),
    Case("parse", "cfg", "sections", HUNDREDS[:3], sections),
    Case("edit each section", "cfg", "sections", HUNDREDS[:3], edits),
    Case("read a COCO JSON", "data", "annotations", ALL_THOUSANDS, coco_json),
    Case("mAP", "data", "objects", ALL_THOUSANDS, lambda count, folder: darknet_map(count, 80)),
    Case("COCO's AP", "data", "objects", THOUSANDS, lambda count, folder: coco_ap(count, 10)),
    Case("read a label file", "data", "lines", ALL_THOUSANDS, label_file),
    Case("read label files", "data", "files", THOUSANDS, label_files),
    Case("read a list, paths", "data", "lines", ALL_THOUSANDS, list_file("paths")),
    Case("read a list, samples", "data", "lines", ALL_THOUSANDS, list_file("samples")),
    Case("resize 20 lines", "pixels and objects", "pixels a line", (*ALL_THOUSANDS, 10 ** 7), wide_picture),
    Case("draw", "pixels and objects", "boxes", (10, 10 ** 2, 10 ** 3, 10 ** 4), drawing),
    Case("track by embeddings", "pixels and objects", "objects", (10, 10 ** 2, 10 ** 3), tracking("embeddings")),
    Case("track by ByteTrack", "pixels and objects", "objects", (10, 10 ** 2, 10 ** 3), tracking("bytetrack")),
)
BY_NAME = {case.name: case for case in CASES}


def enter(folder: Path) -> None:
    """Make a folder the working directory; one thread."""
    os.chdir(folder)
    torch.set_num_threads(1)
