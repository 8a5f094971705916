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
import sys
import time
from pathlib import Path

import numpy as np
import torch
from goldens.detections import compare_cli, compare_decode
from goldens.forward import compare_forward
from goldens.forward_faults import FAULTS
from goldens.reading import find_goldens, load_kit
from goldens.result import TOLERANCE, Result
from goldens.training import compare_train

from darknet_py import DarknetError

COMPARE = {"forward": compare_forward, "decode": compare_decode, "train": compare_train}


def compare(path: Path, device: str = "cpu") -> tuple[str, Result] | None:
    """One golden: its name and how far it is off; None for a kind that is not compared here, as mAP."""
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
    for path in find_goldens(arguments.paths):
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
