"""Compare ``darknet_py.dnn`` with the ``cv2.dnn`` of OpenCV 4: layers, outputs and boxes of cfgs, as a Markdown table.

    python -m venv opencv4 && opencv4/bin/pip install opencv-python-headless==4.12.0.88
    python scripts/compare_dnn.py opencv4/bin/python cfg/*.cfg

Each network gets random weights, with which each layer's values stay near 1, and two random pictures at once, of 128 x
128 where it takes that size. One piece of code, ``run``, then does the same with either module in a process of its own.
"""
from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path

import cv2
import numpy as np

from darknet_py.layers import DetectionHead

SIZE = 128
TOLERANCE = 1e-3        # of a value, or of 1 where it is smaller
NAMES = "darknet_py", "cv2"


def main() -> int:
    if len(sys.argv) == 6 and sys.argv[1] in NAMES:
        return child(*sys.argv[1:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("opencv", metavar="PYTHON", help="an interpreter with OpenCV 4")
    parser.add_argument("cfgs", nargs="+", metavar="CFG")
    arguments = parser.parse_args()
    bad, root = 0, os.path.commonpath([Path(cfg).absolute().parent for cfg in arguments.cfgs])
    print("| cfg | input | ends | worst difference | boxes |\n|---|---|---|---|---|")
    for cfg in arguments.cfgs:
        with tempfile.TemporaryDirectory() as folder:
            row, good = compare(arguments.opencv, cfg, Path(folder))
        bad += not good
        print(f"| {os.path.relpath(cfg, root).removesuffix('.cfg')} | {row} |", flush=True)
    return int(bad > 0)


def compare(opencv: str, cfg: str, folder: Path) -> tuple[str, bool]:
    """A row of the table, and whether the two agree."""
    weights = folder / "random.weights"
    try:
        width, height, channels = make_weights(cfg, weights)
    except Exception as error:
        return f" | | {type(error).__name__}: {error} | ", False
    said: dict[str, str | None] = {}
    for name, python in zip(NAMES, (sys.executable, opencv), strict=True):
        done = subprocess.run([python, __file__, name, cfg, weights, folder / f"{name}.npz",
                               f"{width}x{height}x{channels}"], capture_output=True, text=True)
        said[name] = (done.stderr.splitlines() or [""])[-1] if done.returncode else None
    return report(folder, f"{width} x {height}", said)


def report(folder: Path, size: str, said: dict[str, str | None]) -> tuple[str, bool]:
    ours, theirs = said.values()
    if theirs is not None:
        return f"{size} | | OpenCV: `{theirs}` | ", ours is None
    if ours is not None:
        return f"{size} | | darknet_py: {ours} | ", False
    problem, worst, boxes, alone = differences(*(dict(np.load(folder / f"{name}.npz")) for name in NAMES))
    ends = " ".join(np.load(folder / "cv2.npz")["ends"].tolist())
    found = f"{boxes}, {alone} in one alone" if alone else f"{boxes}"
    return f"{size} | {ends} | {problem or f'{worst:.0e}'} | {found}", problem == "" and worst <= TOLERANCE


def differences(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> tuple[str, float, int, int]:
    """What is not the same at all; the worst difference of numbers; how many boxes there are, and how many of them in
    one of the two alone."""
    for key in ("layers", "types", "ids", "ends"):
        if ours[key].tolist() != theirs[key].tolist():
            one, other = next(pair for pair in zip_longest(ours[key], theirs[key]) if pair[0] != pair[1])
            return f"{key}: {one} and {other}", 0, 0, 0
    worst = 0.
    for key in sorted(theirs):
        a, b = ours[key], theirs[key]
        if key.startswith("out"):
            if a.shape != b.shape:
                return f"{key}: shapes {a.shape} and {b.shape}", 0, 0, 0
            difference = np.abs(a - b) / np.maximum(np.abs(b), min(1, np.abs(b).max()))
            a, b = a[..., 5:], b[..., 5:]               # a score near thresh= may be 0 in one of them alone
            cut = ((a == 0) | (b == 0)) & (np.maximum(a, b) < np.min(b[b > 0], initial=np.inf) + TOLERANCE)
            difference[..., 5:][cut] = 0
            worst = max(worst, float(np.nan_to_num(difference, nan=np.inf).max()))
    a, b = ours["found"], theirs["found"]
    alike = (np.abs(a[:, None] - b) <= [0, TOLERANCE, 1, 1, 1, 1]).all(2)
    return "", worst, len(b), int((~alike.any(0)).sum() + (~alike.any(1)).sum())


def make_weights(cfg: str, path: Path) -> tuple[int, int, int]:
    """Write random weights, and say which size of input to run them with."""
    import torch

    from darknet_py import CfgError, load_network
    from darknet_py.layers.batchnorm import Norm
    torch.manual_seed(7)
    network = load_network(cfg)
    channels, height, width = network.input_shape
    run = network
    if width > 1 and not any(layer.kind == "crop" for layer in network.layers):     # OpenCV crops as for the cfg's size
        with suppress(CfgError):
            run = network.resized(SIZE, SIZE)
            width = height = SIZE

    def measure(norm: Norm, inputs: tuple) -> None:
        x = inputs[0].transpose(0, 1).flatten(1)
        norm.running_mean.copy_(x.mean(1))
        norm.running_var.copy_(x.var(1, unbiased=False).clamp(min=1))

    for module in run.modules():
        if isinstance(module, Norm):
            module.register_forward_pre_hook(measure)
    x = torch.rand(4, channels, height, width)
    with torch.no_grad():
        for layer in network.layers:
            if getattr(layer, "norm", None) is not None and hasattr(layer, "weight"):
                layer.weight *= 64              # variances so large that the epsilon under their root does not matter
                layer.norm.bias.fill_(1)        # and few activations that turn rounding into more
        run(x)
        for index, head in enumerate(network.layers):
            if isinstance(head, DetectionHead) and hasattr(head, "count"):
                before = network.layers[index - 1].weight
                before /= run.output_of(x, index - 1).std()
                before.unflatten(0, (head.count, -1))[:, 5:] *= 3               # surer of their classes than at random
    network.save_weights(path)
    return width, height, channels


def run(dnn, cfg: str, weights: str, width: int, height: int, channels: int) -> dict[str, np.ndarray]:
    """What a user of ``dnn`` sees of a network."""
    net = dnn.readNetFromDarknet(cfg, weights)
    net.enableWinograd(False)           # which costs OpenCV some digits
    names, ends = net.getLayerNames(), net.getUnconnectedOutLayersNames()
    draw = np.random.default_rng(3)
    blob = draw.random((2, channels, height, width), np.float32)
    picture = draw.integers(0, 255, (90, 120, channels), np.uint8)
    seen = {"layers": names, "types": [net.getLayer(name).type for name in names], "ends": ends,
            "ids": [*net.getUnconnectedOutLayers(), *map(net.getLayerId, (*names, "nothing"))]}
    net.setInput((blob[:1] * 255).astype(np.uint8), "", 1 / 128, (100, 110, 120)[:channels])
    seen |= {f"out{number}": out for number, out in enumerate((net.forward(), *net.forward(ends)))}
    model, found = dnn.DetectionModel(net), []
    model.setInputParams(1 / 255, (width, height), swapRB=True)
    if net.getLayer(names[-1]).type == "Region":
        found = [[label, score, *box] for label, score, box in zip(*model.detect(picture, .3, .4), strict=True)]
    elif len(ends) == 1:
        model = dnn.ClassificationModel(net)
        model.setInputParams(1 / 255, (width, height), swapRB=True)
        found = [[*model.classify(picture), 0, 0, 0, 0]]
    seen["found"] = sorted(found, key=lambda row: (row[0], *row[2:]))
    try:
        net.setInput(blob)
        seen |= {f"out_both{number}": out for number, out in enumerate(net.forward(ends))}
    except cv2.error:                   # OpenCV's scale_channels takes one picture at a time
        if dnn is not cv2.dnn:
            raise
    return {key: np.array(value) for key, value in seen.items()}


def child(name: str, cfg: str, weights: str, out: str, size: str) -> int:
    if name == "cv2":
        dnn = cv2.dnn
    else:
        from darknet_py import dnn
    try:
        np.savez_compressed(out, **run(dnn, cfg, weights, *map(int, size.split("x"))))
    except cv2.error as error:
        print(" ".join(error.err.split()), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
