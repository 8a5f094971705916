"""Evaluate a detector: Darknet's mAP, COCO's AP, each class, and an analysis of its errors.

Takes the pictures under valid= of a .data file, or any other labelled source (a COCO JSON, whose crowds and areas then
count as COCO counts them; a Pascal VOC folder; a list). With several processes (torchrun) each takes its shard.
"""
from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darknet_py.cli import measure, model
from darknet_py.cli.detect import add_model_flags, add_tile_flags, write_picture
from darknet_py.utils.files import write_file

if TYPE_CHECKING:
    import numpy as np

    from darknet_py.cli.measure import EvaluationInput
    from darknet_py.evaluation.error_analysis import Mistake
    from darknet_py.evaluation.evaluate import Evaluation

WORST = 24              # mistakes in the picture of the worst
COLUMNS = 6
COCO_ROWS = (("AP", "AP50", "AP75", "APs", "APm", "APl"), ("AR1", "AR10", "AR100", "ARs", "ARm", "ARl"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", help="a .data file, a COCO JSON, a Pascal VOC folder, a list or a folder of pictures")
    model.add_arguments(parser)
    parser.add_argument("images", nargs="*", help=argparse.SUPPRESS)
    add_model_flags(parser)
    add_tile_flags(parser)
    add_flags(parser)
    parser.add_argument("--thresh", type=float, default=.25, help="score above which detections count (default .25)")
    parser.add_argument("--nms", type=float, help="overlap that suppresses (default .45 for mAP, .6 for COCO)")
    parser.add_argument("--json", metavar="FILE", help="write all figures as JSON")
    parser.add_argument("--plots", metavar="FOLDER", help="draw curves of precision, recall and F1, the confusion "
                        "matrix, and the worst mistakes")
    parser.add_argument("--dont-show", action="store_true", help=argparse.SUPPRESS)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of mAP."""
    parser.add_argument("--iou-thresh", type=float, default=.5, help="overlap above which a detection is right "
                        "(default .5)")
    parser.add_argument("--points", type=int, default=0, help="101 as COCO, 11 as Pascal VOC 2007, 0 for the area "
                        "under the curve (default)")


def run(arguments: argparse.Namespace) -> int:
    from darknet_py.data.coco import read_coco_json
    from darknet_py.data.dataset import coco_json
    from darknet_py.errors import printable
    from darknet_py.evaluation.coco_ap import read_truth
    from darknet_py.evaluation.evaluate import evaluate
    measure.check_thresholds(arguments)
    source = coco_json(arguments.data)
    kept = None if source is None else read_coco_json(source)       # so that it is parsed once
    measured = measure.prepare(arguments)
    truth = None if source is None else read_truth(source, measured.names)
    del kept
    with measure.progress(measured) as bar:
        result = evaluate(
            measured.network, measured.samples, measured.names, truth=truth, iou_thresh=arguments.iou_thresh,
            points=arguments.points, thresh=arguments.thresh, difficult=measure.difficult(arguments, measured),
            progress=bar.track, **measured.options)
    files = []
    if measured.world.is_main:
        if arguments.json is not None:
            write_file(Path(arguments.json), json.dumps(as_json(result), indent=1).encode())
            files.append(arguments.json)
        if arguments.plots is not None:
            files += map(str, draw(result, measured, Path(arguments.plots)))
    text = "\n".join([*summary(result), *table(result), *mistakes(result), "", result.predictions.speed(),
                      *map(printable, files), ""])
    return measure.print_result(measured, text, result.map.problems)


def summary(result: Evaluation) -> Iterator[str]:
    """Both measures, each with its settings."""
    m, coco = result.map, result.coco
    how = f"{m.points} recall points" if m.points else "the area under the curve"
    yield (f"Darknet's measure: {result.settings}; right is an overlap above {m.iou_thresh:g}; {how}; the mean of "
           f"{len(m.names)} classes")
    yield f"  mAP@{m.iou_thresh:.2f}  {m.map:.2%}"
    yield (f"  at scores above {m.thresh:g}: precision {m.precision:.2%}, recall {m.recall:.2%}, F1 {m.f1:.4f}; "
           f"TP {m.tp.sum()}, FP {m.fp.sum()}, FN {m.fn}; average IoU {m.average_iou:.2%}")
    yield ""
    yield (f"COCO's measure (pycocotools): {coco.settings}; the 100 highest scores of an image and class; right is an "
           "overlap from .50 to .95 or more; 101 recall points")
    for row in COCO_ROWS:
        yield "  " + "  ".join(f"{name:<5} {shown(coco.figures[name]):>7}" for name in row)
    yield ""


def table(result: Evaluation) -> Iterator[str]:
    """A line a class."""
    from darknet_py.errors import printable
    from darknet_py.evaluation.plots import best_f1
    m, coco = result.map, result.coco
    yield (f"{'class':<24}{'objects':>8}{f'AP@{m.iou_thresh:.2f}':>9}{'COCO AP':>9}{'AP50':>9}{'TP':>7}{'FP':>7}"
           f"{'FN':>7}{'precis.':>9}{'recall':>9}{'F1':>7}{'best F1':>9} at")
    for label, name in enumerate(m.names):
        tp, fp, count = int(m.tp[label]), int(m.fp[label]), int(m.objects[label])
        best, at = best_f1(m.curves[label:label + 1])
        ap = shown(float(m.ap[label]) if count else -1)
        yield (f"{label:>3} {printable(name[:19]):<20}{count:>8}{ap:>9}{shown(coco.ap[label]):>9}"
               f"{shown(coco.ap50[label]):>9}{tp:>7}{fp:>7}{count - tp:>7}{ratio(tp, tp + fp):>9}{ratio(tp, count):>9}"
               f"{ratio(2 * tp, tp + fp + count, ''):>7}{best:>9.2f} {at:.2f}")
    best, at = best_f1(m.curves)
    yield ""
    yield f"The mean F1 of the classes is best, {best:.2f}, at -thresh {at:.2f}"


def mistakes(result: Evaluation) -> Iterator[str]:
    """The number of errors of each kind, and the classes that are confused most."""
    import numpy as np

    from darknet_py.errors import printable
    from darknet_py.evaluation.error_analysis import KINDS
    analysis, m = result.mistakes, result.map
    counts = dict(zip(KINDS, analysis.counts.sum(0).tolist(), strict=True))
    yield (f"Errors at scores above {m.thresh:g}: {', '.join(f'{kind} {counts[kind]}' for kind in KINDS)}")
    yield ("(Here, in F1 and in the pictures the detection of the highest score is right for an object; Darknet's TP "
           "and FP take the first in an order of its own.)")
    matrix = analysis.confusion[:-1, :-1] * (1 - np.eye(len(m.names), dtype=np.int64))
    worst = sorted(zip(*np.nonzero(matrix), strict=True), key=lambda at: -matrix[at])[:5]
    if worst:
        yield "Taken for another: " + ", ".join(
            f"{printable(m.names[row])} for {printable(m.names[column])} ({matrix[row, column]})"
            for row, column in worst)


def shown(value: float) -> str:
    """A part as per cent; - where there is nothing to measure."""
    return "-" if value < 0 else f"{value:.2%}"


def ratio(part: int, whole: int, unit: str = "%") -> str:
    return "-" if not whole else f"{part / whole:.2%}" if unit else f"{part / whole:.2f}"


def as_json(result: Evaluation) -> dict[str, Any]:
    """All figures; null where there is nothing to measure."""
    from darknet_py.evaluation.error_analysis import KINDS
    from darknet_py.evaluation.plots import best_f1
    m, coco = result.map, result.coco

    def known(value: float) -> float | None:
        return None if value < 0 else float(value)

    best, at = best_f1(m.curves)
    return {
        "images": int((result.predictions.sizes[:, 0] > 0).sum()), "objects": int(m.objects.sum()),
        "darknet": {"map": m.map, "iou_thresh": m.iou_thresh, "points": m.points, "thresh": m.thresh,
                    "reading": str(result.settings), "precision": m.precision, "recall": m.recall, "f1": m.f1,
                    "tp": int(m.tp.sum()), "fp": int(m.fp.sum()), "fn": m.fn, "average_iou": m.average_iou,
                    "best_f1": best, "best_thresh": at},
        "coco": {**{name: known(value) for name, value in coco.figures.items()}, "reading": coco.settings},
        "classes": [{"name": name, "objects": int(m.objects[label]), "ap": float(m.ap[label]),
                     "coco_ap": known(coco.ap[label]), "coco_ap50": known(coco.ap50[label]),
                     "tp": int(m.tp[label]), "fp": int(m.fp[label]), "fn": int(m.objects[label] - m.tp[label]),
                     "mistakes": dict(zip(KINDS, result.mistakes.counts[label].tolist(), strict=True))}
                    for label, name in enumerate(m.names)],
        "confusion": result.mistakes.confusion.tolist(),
        "seconds": result.predictions.seconds, "network_seconds": result.predictions.network_seconds,
        "problems": list(m.problems)}


def draw(result: Evaluation, measured: EvaluationInput, folder: Path) -> Iterator[Path]:
    """The pictures; yields their paths."""
    from darknet_py.errors import DataError, Reason, cause
    from darknet_py.evaluation.plots import plot_confusion, plot_f1, plot_precision_recall
    from darknet_py.viz.draw import grid
    m = result.map
    title = f"scores above {m.thresh:g}, overlaps above {m.iou_thresh:g}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder}: cannot make the folder: {cause(error)}", Reason.UNWRITABLE) from None
    plot_precision_recall(m.curves, m.names, m.ap.tolist(), folder / "precision_recall.png")
    plot_f1(m.curves, m.names, folder / "f1.png")
    plot_confusion(result.mistakes.confusion, m.names, folder / "confusion.png", title)
    yield from (folder / name for name in ("precision_recall.png", "f1.png", "confusion.png"))
    if worst := result.mistakes.worst(WORST):
        cells = [picture(mistake, result, measured) for mistake in worst]
        write_picture(folder / "mistakes.jpg", grid(cells, min(COLUMNS, len(cells))))
        yield folder / "mistakes.jpg"


def picture(mistake: Mistake, result: Evaluation, measured: EvaluationInput) -> np.ndarray:
    """A crop around an error: ground truth in white dashes, the wrong detection in colour."""
    import numpy as np
    import torch

    from darknet_py.data.image import read_image
    from darknet_py.errors import printable
    from darknet_py.ops.boxes import cxcywh_to_xyxy
    from darknet_py.viz.draw import draw_crop
    objects, m, sample = result.predictions.objects, result.map, measured.samples[mistake.image]
    here = objects.images == mistake.image
    image = read_image(sample.image)
    height, width = image.shape[:2]
    boxes, labels = np.append(objects.boxes[here], mistake.box[None], 0), np.append(objects.labels[here], mistake.label)
    corners = cxcywh_to_xyxy(torch.from_numpy(boxes)).numpy() * (width, height, width, height)
    kept = int(here.sum()) + (mistake.kind != "missed")         # a missed one is among the objects already
    other = m.names[mistake.other] if mistake.other >= 0 else ""
    why = mistake.kind + {"localization": f", overlap {mistake.overlap:.2f}",
                          "classification": f", is a {other}"}.get(mistake.kind, "")
    score = "" if mistake.kind == "missed" else f" {mistake.score:.0%}"
    return draw_crop(image, corners[-1], corners[:kept], labels[:kept], [number < here.sum() for number in range(kept)],
                     [printable(f"{m.names[mistake.label]}{score}: {why}"), printable(sample.image.name)])
