"""Compare darknet_py with measured outputs of the C program.

    python scripts/conformance.py PATH...

A PATH is a golden or a folder of them, such as ../shared/conformance. Prints a line a golden: its name, the worst
error, and the layer or box that has it; the last line counts. Exit status 1 if one fails.

Some goldens record a fault of C's CPU code (goldens/forward_faults.py by golden, goldens/training_faults.py by kind of
layer). Such a golden is compared with a network that has the same fault built in: that it then fits in every layer is
the proof that nothing but the fault sets the two apart. darknet_py itself does what C's GPU code does.
"""
from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import torch
from goldens.forward_faults import FAULTS
from goldens.training_faults import LEFT_OUT, build_in
from torch import Tensor

from darknet_py import DarknetError, Detector, Network, load_network, parse_cfg
from darknet_py.data.targets import Truth
from darknet_py.inference.postprocess import PostProcessor
from darknet_py.layers import DetectionHead
from darknet_py.ops.boxes import iou
from darknet_py.training.optimizer import Optimizer
from darknet_py.training.step import accumulate

TOLERANCE = {"cpu": 2e-4, "cuda": 1e-3}     # of a layer's largest absolute output
CLI_BOUNDS = {True: (.05, .002, .99), False: (.08, .02, .97)}    # PNG or JPEG: least score, its tolerance, least IoU
ROUNDING = 4e-6                             # of float32 sums of thousands of terms one by one: 4608 ** .5 * 2 ** -24
SPREAD = 4
XNOR_SHARE = .995                           # of the values in and after xnor layers must be within the tolerance


class Result(NamedTuple):
    """How far a golden is off. ``error`` is in units of what is allowed there."""

    passed: bool
    error: float
    where: str


# ------------------------------------------------------------------------------------- what is compared

def load_kit(near: Path) -> ModuleType:
    """kit.py, which lies with the goldens, above ``near``."""
    for folder in near.resolve().parents:
        if (folder / "kit.py").is_file():
            sys.path.insert(0, str(folder))
            import kit
            return kit
    raise SystemExit(f"{near}: found no kit.py beside or above it")


def golden_network(golden, path: Path, device: str) -> Network:
    """The network that a golden was measured on, with its weights."""
    folder = next((above / "reference" / "cfg" for above in path.resolve().parents if (above / "reference").is_dir()),
                  path.parent)                  # where tree= and map= files are found
    with tempfile.NamedTemporaryFile(suffix=".weights") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")         # the originals' oddities
        cfg = parse_cfg(golden.cfg, folder / f"{golden.meta['name']}.cfg")
        golden.write_weights(file.name)
        network = load_network(cfg, file.name, device=device)
    network.set_time_steps(golden.meta["time_steps"])
    return network


def compare_forward(golden, path: Path, device: str = "cpu") -> Result:
    """Every layer's sampled outputs, and the heads."""
    network = golden_network(golden, path, device)
    fault = FAULTS.get(golden.meta["name"])
    if fault is not None:
        fault(network)
    x = torch.from_numpy(golden.input()).to(device)
    with torch.no_grad():
        outputs = {f"layer_{index:03d}": output for index, output in enumerate(network.trace(x))}
        network.reset_state()
        heads = network(x)
    outputs |= {f"head_{index:03d}": output for index, output in zip(network.heads, heads, strict=True)}
    compared = {key for key in golden.arrays if f"{key}_at" in golden.arrays}
    if missing := {key for key in compared if key.startswith("head")} - set(outputs):
        return Result(False, np.inf, f"{sorted(missing)} are no heads here")
    binary = next((index for index, layer in enumerate(network.layers) if getattr(layer.options, "xnor", 0)), np.inf)
    worst, values, bad = Result(True, 0, ""), 0, 0
    for key in sorted(compared):
        index, at = int(key[-3:]), golden.arrays[f"{key}_at"]
        ours, largest = outputs[key].detach().reshape(-1).cpu().numpy(), golden.meta["layers"][index][-1]
        if at.max() >= ours.size:
            return Result(False, np.inf, f"{key}: expected more than {at.max()} values, got {ours.size}")
        error = np.abs(ours[at] - golden.arrays[key])
        relative = error / largest if largest else np.where(error == 0, 0, np.inf)
        ok = relative <= TOLERANCE[device]      # not so for NaN
        values, bad = values + at.size, bad + (~ok).sum()
        if not relative.max() <= worst.error:
            worst = Result(worst.passed, float(relative.max()), f"{key} [{network.layers[index].kind}]")
        if not ok.all() and index < binary:
            worst = worst._replace(passed=False)
    return worst._replace(passed=worst.passed and 1 - bad / values >= XNOR_SHARE)


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
    def ordered(label: np.ndarray, box: np.ndarray, score: np.ndarray) -> np.ndarray:
        return np.lexsort([np.round(score, 3), *np.round(box, 3).T, label])

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


def compare_train(golden, path: Path, device: str = "cpu") -> Result:
    """Losses, deltas, gradients and weights of a few training steps. The error is in units of what is allowed.

    Whole networks run in float64, and a value may miss its bar by rounding: C's float32 puts other
    values on the other side of a kink (in resnet50, five within 6e-6 of zero account for all), and batch normalisation
    over few values blows up what is small (rnn.train has two, through three layers and 576 steps). So what misses must
    lie within ``SPREAD`` times of what weights changed by ``ROUNDING`` do to it.
    """
    whole = path.parent.parent.name != "kinds"
    left_out, _ = LEFT_OUT.get(golden.meta["name"], ({}, ""))
    arrays = golden.arrays | {f"loss_{iteration}": loss for iteration, loss in enumerate(golden.arrays["loss"])}
    bars = {"loss_0": 1e-4, "loss": 2e-2, "after1": 1e-5, "afterK": 2e-2}
    ours = run_training(golden, path, device, torch.float64 if whole else torch.float32)
    errors, allowed = {}, {}
    for key, (values, largest) in ours.items():
        without = next((places for pattern, places in left_out.items() if fnmatch(key, pattern)), None)
        if key not in arrays or without == ():
            continue
        compared = ~np.isin(arrays.get(f"{key}_at", np.arange(values.size)), without or ())
        with np.errstate(over="ignore", invalid="ignore"):      # C's own values may be infinite
            error = np.abs(values - arrays[key])[compared].max() / max(largest, np.abs(arrays[key]).max(), 1e-30)
        errors[key], allowed[key] = float(error), bars.get(key, bars.get(key.split("_")[0], 1e-3))
    bad = [key for key in errors if not errors[key] <= allowed[key]]
    rounded = 0
    if whole and bad:
        others = [run_training(golden, path, device, torch.float64, seed) for seed in range(3)]
        for key in bad:
            values, largest = ours[key]
            apart = max(float(np.abs(other[key][0] - values).max()) for other in others)
            allowed[key] = max(allowed[key], SPREAD * apart / max(largest, 1e-30))
        rounded, bad = len(bad), [key for key in bad if not errors[key] <= allowed[key]]
        rounded -= len(bad)
    worst = max(bad or errors, key=lambda key: np.nan_to_num(errors[key] / allowed[key], nan=np.inf))
    where = f"{worst} {errors[worst]:.1e}" + (f", {rounded} of {len(errors)} by rounding" if rounded else "")
    if bad:
        where = f"{len(bad)} of {len(errors)}: {', '.join(f'{key} {errors[key]:.1e}' for key in bad[:6])}"
    return Result(not bad, errors[worst] / allowed[worst], where)


def run_training(golden, path: Path, device: str, dtype: torch.dtype,
                 seed: int | None = None) -> dict[str, tuple[np.ndarray, float]]:
    """The steps of a training golden: by its key each tensor's values where the golden has some, and its largest.

    seed: change all weights by ``ROUNDING``.
    """
    m, arrays = golden.meta, golden.arrays
    network = golden_network(golden, path, device).to(dtype)
    build_in(network)
    if seed is not None:
        generator = torch.Generator(device).manual_seed(seed)
        for parameter in network.parameters():
            noise = torch.randn(parameter.shape, generator=generator, device=device, dtype=dtype)
            parameter.data *= 1 + ROUNDING * noise
    with torch.no_grad():
        network(torch.from_numpy(golden.input()).to(device, dtype))     # the state that C's first pass left
    network.train()
    optimizer, batch = Optimizer(network), m["batch"]
    blobs = [blob.tensor for layer in network.layers for blob in layer.blobs()]
    result: dict[str, tuple[np.ndarray, float]] = {}

    def keep(key: str, tensor: Tensor) -> None:
        values = tensor.detach().double().cpu().reshape(-1).numpy()
        result[key] = values[arrays.get(f"{key}_at", slice(None))], float(np.abs(values).max())

    for iteration in range(m["iterations"]):
        x = torch.from_numpy(golden.train_input(iteration)).to(device, dtype)
        network.context.iteration, network.context.seen = iteration, (iteration + 1) * batch
        outcome = accumulate(network, x, golden_truth(golden, network).to(device))
        keep(f"loss_{iteration}", outcome.loss)
        if iteration == 0:
            later: Tensor | float = 0.
            for head, loss in reversed(outcome.heads):      # [cost] adds its delta to that of the [softmax] it reads
                keep(f"delta_{head.layer.place.index:03d}", loss.delta + later)
                later = loss.scale * loss.delta if head.layer.kind == "cost" else 0.
            for (layer, sub, kind, *_), tensor in zip(m["tensors"], blobs, strict=True):
                if sub == "-" and kind in GRADIENTS and tensor.grad is not None:
                    keep(f"{GRADIENTS[kind]}_{layer:03d}", -tensor.grad)
        optimizer.step(m["learning_rate"], batch, iteration + 1)
        for name in ("after1",) * (iteration == 0) + ("afterK",) * (iteration + 1 == m["iterations"]):
            for index, tensor in enumerate(blobs):
                keep(f"{name}_{index:04d}", tensor)
    return result


GRADIENTS = {"weights": "wgrad", "biases": "bgrad", "scales": "sgrad"}


def golden_truth(golden, network: Network) -> Truth | Tensor:
    """The truths as the network's heads want them."""
    rows = golden.arrays["truth"]
    head = network.layers[network.heads[-1]]
    if isinstance(head, DetectionHead):
        return Truth.stack([rows[rows[:, 0] == image, 1:] for image in range(golden.meta["batch"])])
    truth = torch.zeros(golden.meta["batch"], head.shape.size)
    truth[torch.from_numpy(rows[:, 0]).long(), torch.from_numpy(rows[:, 1]).long()] = 1
    return truth


# ------------------------------------------------------------------------------------- the run

COMPARE = {"forward": compare_forward, "decode": compare_decode, "train": compare_train}


def goldens(paths: list[Path]) -> Iterator[Path]:
    """The golden files under paths: .npz, and the .json of the command line."""
    for path in paths:
        if not path.exists():
            raise SystemExit(f"{path}: no such file or folder")
        yield from sorted(file for file in path.rglob("*") if file.suffix in (".npz", ".json")) if path.is_dir() \
            else [path]


def compare(path: Path, device: str = "cpu") -> tuple[str, Result] | None:
    """One golden: its name and how far it is off; None for those of training and of mAP."""
    if path.suffix == ".json":
        return path.stem, compare_cli(path)
    golden = load_kit(path).Golden(path)
    run, name = COMPARE.get(golden.meta["mode"]), golden.meta["name"]
    if run is None:
        return None
    try:
        return name, run(golden, path, device)
    except DarknetError as error:
        return name, Result(False, np.inf, str(error))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("paths", type=Path, nargs="+", help="goldens, or folders of them")
    parser.add_argument("--device", default="cpu", choices=list(TOLERANCE))
    arguments = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    passed, failed, others = 0, 0, 0
    for path in goldens(arguments.paths):
        start = time.perf_counter()
        outcome = compare(path, arguments.device)
        if outcome is None:
            others += 1
            continue
        name, result = outcome
        fault = FAULTS.get(name) if path.parent.name == "forward" else None
        note = f"  (with the fault of C's CPU code: {fault.__name__})" if fault else ""
        print(f"{'ok  ' if result.passed else 'FAIL'} {path.parent.name}/{name:42s} {result.error:9.2e}  {result.where}"
              f"{note}  {time.perf_counter() - start:.1f} s", flush=True)
        passed, failed = passed + result.passed, failed + (not result.passed)
    if others:
        print(f"{others} goldens of other kinds (training, mAP) left out")
    print(f"{passed} passed, {failed} failed")
    return int(failed > 0 or passed == 0)


if __name__ == "__main__":
    sys.exit(main())
