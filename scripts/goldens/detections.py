"""Comparing detections: sets of decoded boxes before and after NMS, and the objects that the command line found."""
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from darknet_py import Detector
from darknet_py.inference.postprocess import PostProcessor
from darknet_py.ops.boxes import iou

from .reading import golden_network
from .result import Result

CLI_BOUNDS = {True: (.05, .002, .99), False: (.08, .02, .97)}    # PNG or JPEG: least score, its tolerance, least IoU


def compare_decode(golden, path: Path, device: str = "cpu") -> Result:
    """The set of (class, box) pairs before and after NMS, of a plain and of a letterboxed picture."""
    m = golden.meta
    network = golden_network(golden, path, device)
    with torch.no_grad():
        outputs = network(torch.from_numpy(golden.input()).to(device))
    size = [(m["image_height"], m["image_width"])]
    worst = Result(True, 0, "")
    # C gives boxes of [detection] in pixels, and then draws and writes them as if they were relative
    pixels = size[0][::-1] * 2 if network.layers[network.heads[-1]].kind == "detection" else (1, 1, 1, 1)
    for letterbox in ("plain", "letterbox"):
        for stage, threshold in (("raw", 0), ("nms", m["nms"])):
            key = f"detections_{letterbox}_{stage}"
            (boxes, scores), = PostProcessor.of(network).find_boxes(outputs, size, m["thresh"], threshold,
                                                                    m["hier_thresh"], letterbox == "letterbox")
            box, label = (scores > 0).nonzero().unbind(1)
            truth = golden.arrays[key] / (1, 1, 1, *pixels)
            result = compare_sets(truth, label.numpy(), scores[box, label].numpy(), boxes[box].numpy(),
                                  m["thresh"])
            if not result.passed or result.error > worst.error:
                worst = Result(worst.passed and result.passed, max(worst.error, result.error), f"{key} {result.where}")
    return worst


def compare_sets(truth: np.ndarray, labels: np.ndarray, scores: np.ndarray, boxes: np.ndarray,
                 thresh: float) -> Result:
    """Pair off detections of equal class, box and score. Up to 0.5 % may have no partner where a tie or the threshold
    lies within 1e-5; those are found by their score, and by what else stands there."""
    scale = np.maximum(1, np.abs(truth[:, 3:7]).max(1))        # random weights make boxes of any size
    free = np.ones(len(labels), bool)
    error, alone = 0., []
    for label in np.unique(np.concatenate([truth[:, 0], labels])):
        theirs, ours = np.flatnonzero(truth[:, 0] == label), np.flatnonzero(labels == label)
        if not len(theirs) or not len(ours):
            alone += [truth[i, 1] for i in theirs]
            continue
        for i in theirs:
            off = np.maximum(np.abs(boxes[ours] - truth[i, 3:7]).max(1) / scale[i], np.abs(scores[ours] - truth[i, 1]))
            off = np.where(free[ours], off, np.inf)
            best = off.argmin()
            if off[best] <= 1e-4:
                free[ours[best]], error = False, max(error, float(off[best]))
            else:
                alone.append(truth[i, 1])
    alone += scores[free].tolist()
    allowed = int(.005 * len(truth))
    where = f"{len(truth)} pairs, {len(alone)} without a partner (of {allowed} allowed), threshold {thresh}"
    return Result(len(alone) <= allowed, error, where)


def compare_cli(path: Path) -> Result:
    """The detections of real weights on a photograph."""
    folder, name = path.resolve().parents[2], path.stem
    letterbox = name.endswith("_letterbox")
    name = name.removesuffix("_letterbox")
    exact = name.endswith("_png")               # C decodes JPEG with another library
    model, picture = name.removesuffix("_png").rsplit("_", 1)
    detector = cached_detector(folder / "models" / model)
    detector.letterbox = letterbox
    found = detector(folder / "images" / f"{picture}.{'png' if exact else 'jpg'}")
    (frame,), (least, apart, overlap) = json.loads(path.read_text()), CLI_BOUNDS[exact]
    ours = [(d.label, d.score, box) for d, box in zip(found, found.relative(), strict=True)]
    worst = Result(True, 0, f"{len(frame['objects'])} objects")
    free = set(range(len(ours)))
    for truth in frame["objects"]:
        c = truth["relative_coordinates"]
        box = torch.tensor([c["center_x"], c["center_y"], c["width"], c["height"]], dtype=torch.float64)
        pairs = [(abs(ours[i][1] - truth["confidence"]), i) for i in free if ours[i][0] == truth["class_id"]
                 and iou(torch.from_numpy(ours[i][2]), box) >= overlap]
        off, best = min(pairs, default=(np.inf, None))
        free.discard(best)
        if off > worst.error and (truth["confidence"] > least or off < np.inf):
            worst = Result(worst.passed and off <= apart, off, f"{truth['name']} {truth['confidence']:.3f}")
    extra = [ours[i] for i in free if ours[i][1] > least + apart]
    if extra:
        return worst._replace(passed=False, where=f"{extra} is not in the golden")
    if exact:
        ours_in_order, theirs = ([one["class_id"] for one in objects] for objects in
                                 (json.loads(found.to_json())["objects"], frame["objects"]))
        if ours_in_order != theirs:
            return worst._replace(passed=False, where="the objects of the JSON stand in another order")
    return worst


_detectors: dict[Path, Detector] = {}


def cached_detector(model: Path) -> Detector:
    """A detector with thresholds as the goldens have them."""
    if model not in _detectors:
        _detectors[model] = Detector(f"{model}.cfg", f"{model}.weights", model.parent / "coco.names", thresh=.05,
                                     device="cpu")
    return _detectors[model]
