"""Compare ``darknet_py.dnn`` with the ``cv2.dnn`` of OpenCV 4: layers, outputs and boxes of cfgs, as a Markdown table.

    python -m venv opencv4 && opencv4/bin/pip install opencv-python-headless==4.12.0.88
    python scripts/compare_dnn.py opencv4/bin/python cfg/*.cfg

Each network gets random weights, with which each layer's values stay near 1, and two random pictures at once, of 128 x
128 where it takes that size. One piece of code, ``run``, then does the same with either module in a process of its own.
"""
from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np

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
    bad = 0
    print("| cfg | input | ends | worst difference | boxes |\n|---|---|---|---|---|")
    for cfg in arguments.cfgs:
        with tempfile.TemporaryDirectory() as folder:
            row, good = compare(arguments.opencv, cfg, Path(folder))
        bad += not good
        print(f"| {Path(cfg).stem} | {row} |", flush=True)
    return int(bad > 0)


def compare(opencv: str, cfg: str, folder: Path) -> tuple[str, bool]:
    """A row of the table, and whether the two agree."""
    weights = folder / "random.weights"
    try:
        width, height = make_weights(cfg, weights)
    except Exception as error:
        return f" | | {type(error).__name__}: {error} | ", False
    said = {}
    for name, python in zip(NAMES, (sys.executable, opencv), strict=True):
        done = subprocess.run([python, __file__, name, cfg, weights, folder / f"{name}.npz", f"{width}x{height}"],
                              capture_output=True, text=True)
        said[name] = [line for line in done.stderr.splitlines() if line.strip()][-1:] if done.returncode else None
    return report(folder, f"{width} x {height}", said)


def report(folder: Path, size: str, said: dict) -> tuple[str, bool]:
    if said["cv2"] is not None:
        return f"{size} | | OpenCV cannot: {''.join(said['cv2'])} | ", said["darknet_py"] is None
    if said["darknet_py"] is not None:
        return f"{size} | | darknet_py cannot: {''.join(said['darknet_py'])} | ", False
    ours, theirs = (dict(np.load(folder / f"{name}.npz")) for name in NAMES)
    ends = " ".join(ours["ends"].tolist())
    for key in ("layers", "ids", "types", "ends"):
        if ours[key].tolist() != theirs[key].tolist():
            pairs = [pair for pair in zip(ours[key].tolist(), theirs[key].tolist(), strict=False) if pair[0] != pair[1]]
            return f"{size} | {ends} | {key} differ: {pairs[:2]} | ", False
    worst = 0.
    for key in sorted(ours):
        if key.startswith("out"):
            a, b = ours[key], theirs[key]
            if a.shape != b.shape:
                return f"{size} | {ends} | {key}: shapes {a.shape} and {b.shape} | ", False
            difference = np.abs(a - b) / np.maximum(1, np.abs(b))
            a, b = a[..., 5:], b[..., 5:]                       # a score near thresh= may be 0 in one of them alone
            cut = ((a == 0) | (b == 0)) & (np.maximum(a, b) < np.min(b[b > 0], initial=np.inf) + TOLERANCE)
            difference[..., 5:][cut] = 0
            worst = max(worst, float(difference.max()))
    a, b = ours["found"], theirs["found"]
    same = a.shape == b.shape and bool((np.abs(a - b) <= [0, TOLERANCE, 1, 1, 1, 1]).all())
    boxes = f"{len(b)}" if same else f"{len(a)} against {len(b)}"
    return f"{size} | {ends} | {worst:.1e} | {boxes}", worst <= TOLERANCE and same


def make_weights(cfg: str, path: Path) -> tuple[int, int]:
    """Write random weights, and say which size of input to run them with."""
    import torch

    from darknet_py import CfgError, load_network
    from darknet_py.layers.batchnorm import Norm
    torch.manual_seed(7)
    network = load_network(cfg)
    width, height = network.input_shape.width, network.input_shape.height
    run = network
    if not any(layer.kind == "crop" for layer in network.layers):       # OpenCV crops as for the cfg's size
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
    with torch.no_grad():
        for layer in network.layers:
            if getattr(layer, "norm", None) is not None and hasattr(layer, "weight"):
                layer.weight *= 8               # variances so large that the epsilon under their root does not matter
        for before, head in zip(network.layers, network.layers[1:], strict=False):
            if head.detects and hasattr(head, "count") and before.kind == "convolutional":
                before.weight.unflatten(0, (head.count, -1))[:, 5:] *= 6        # surer of their classes than at random
        run(torch.rand(4, run.input_shape.channels, height, width))
    network.save_weights(path)
    return width, height


def run(dnn, cfg: str, weights: str, width: int, height: int) -> dict:
    """What a user of ``dnn`` sees of a network."""
    net = dnn.readNetFromDarknet(cfg, weights)
    names, ends = net.getLayerNames(), net.getUnconnectedOutLayersNames()
    draw = np.random.default_rng(3)
    first = net.getLayer(1)
    blob = draw.random((2, 3, height, width), np.float32)
    found = []
    seen = {"layers": names, "ids": [net.getLayerId(name) for name in (*names, *ends)], "ends": ends,
            "types": [net.getLayer(name).type for name in (first.name, *names)]}
    net.setInput(blob)
    seen |= {f"out{number}": out for number, out in enumerate(net.forward(ends))}
    net.setInput((blob[:1] * 255).astype(np.uint8), "", 1 / 128, (100, 110, 120))
    seen |= {f"out_one{number}": out for number, out in enumerate((net.forward(), *net.forward(ends)))}
    if net.getLayer(names[-1]).type == "Region":
        model = dnn.DetectionModel(net)
        model.setInputParams(1 / 255, (width, height), swapRB=True)
        picture = draw.integers(0, 255, (90, 120, 3), np.uint8)
        found = [[label, score, *box] for label, score, box in zip(*model.detect(picture, .3, .4))]  # noqa: B905
    elif len(ends) == 1:
        model = dnn.ClassificationModel(net)
        model.setInputParams(1 / 255, (width, height), swapRB=True)
        found = [[*model.classify(draw.integers(0, 255, (90, 120, 3), np.uint8)), 0, 0, 0, 0]]
    return seen | {"found": np.array(found, float).reshape(-1, 6)}


def child(name: str, cfg: str, weights: str, out: str, size: str) -> int:
    if name == "cv2":
        dnn, errors = cv2.dnn, cv2.error
    else:
        from darknet_py import DarknetError as errors
        from darknet_py import dnn
    try:
        np.savez(out, **run(dnn, cfg, weights, *map(int, size.split("x"))))
    except errors as error:
        print(" ".join(str(error).split()).split("error: ")[-1].split(" in function")[0], file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
