"""The process of ``doctor`` that imports what may fail, and runs a small network on each backend.

Prints JSON, a line for each step that begins and for what it found. Arguments: the steps to pass over.
"""
from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import suppress
from importlib.util import find_spec
from typing import Any

from darknet_py.tools.doctor import attempt, said
from darknet_py.utils.version import OPENCV, version_of

CFG = """[net]
width=32
height=32
channels=3

[convolutional]
batch_normalize=1
filters=8
size=3
stride=2
pad=1
activation=leaky

[maxpool]
size=2
stride=2

[convolutional]
batch_normalize=1
filters=8
size=3
pad=1
activation=mish

[shortcut]
from=-2
activation=linear

[upsample]
stride=2

[route]
layers=-1,0

[convolutional]
filters=14
size=1
activation=linear

[yolo]
mask=0,1
anchors=4,5, 9,8
classes=2
num=2
"""
MOST = 1e-4             # that PyTorch's float32 may differ from float64, in parts of the largest value


def main(done: list[str]) -> None:
    steps: dict[str, Any] = {"torch": torch_facts, "gpus": gpu_facts, "opencv": opencv_facts, "window": window}
    for name, step in steps.items():
        if name not in done:
            tell(begins=name)
            tell(fact=attempt(step))
    if "backends" in done:
        return tell(end=True)
    try:
        from darknet_py.inference.backends import BACKENDS
    except Exception as error:
        tell(begins="backends none")
        tell(fact={"usable": False, "reason": said(error), "installed": True})
    else:
        for name in BACKENDS:
            if f"backends {name}" not in done:
                tell(begins=f"backends {name}")
                tell(fact=backend_facts(name))
    tell(end=True)


def tell(**words: Any) -> None:
    print(json.dumps(words), flush=True)


def torch_facts() -> dict[str, Any]:
    import numpy
    import torch
    return {"version": torch.__version__, "cuda": torch.version.cuda, "hip": torch.version.hip,
            "threads": torch.get_num_threads(), "capability": torch.backends.cpu.get_cpu_capability(),
            "mkldnn": torch.backends.mkldnn.is_available(), "numpy": numpy.__version__}


def gpu_facts() -> dict[str, Any]:
    """GPUs that PyTorch can use, and the driver, also where PyTorch cannot use it."""
    driver = None
    with suppress(OSError, subprocess.SubprocessError):
        driver = subprocess.run(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"], timeout=10,
                                capture_output=True, text=True, check=True).stdout.split("\n")[0].strip() or None
    import torch
    devices = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        facts = torch.cuda.get_device_properties(index)
        devices.append({"name": facts.name, "memory": facts.total_memory, "compute": f"{facts.major}.{facts.minor}"})
    return {"driver": driver, "devices": devices,
            "cudnn": torch.backends.cudnn.version() if devices else None}


def opencv_facts() -> dict[str, Any]:
    import cv2
    lines = cv2.getBuildInformation().splitlines()
    wanted = {}
    for name in ("GUI", "FFMPEG", "GStreamer"):
        line = next((line for line in lines if line.strip().startswith(f"{name}:")), "")
        wanted[name.lower()] = line.partition(":")[2].strip() or None
    return {"version": cv2.__version__, "packages": {name: version for name in OPENCV
                                                     if (version := version_of(name)) is not None}, **wanted}


def window() -> dict[str, Any]:
    from darknet_py.viz.display import has_window
    return {"possible": has_window()}


def backend_facts(name: str) -> dict[str, Any]:
    """Whether a backend gives what PyTorch gives, and PyTorch what it gives in float64."""
    began = time.perf_counter()
    facts: dict[str, Any] = {"usable": False, "reason": None, "difference": None}
    from darknet_py.inference.backends import BACKENDS
    facts["installed"] = all(map(find_spec, BACKENDS[name].packages))
    try:
        facts |= _run(name)
    except Exception as error:          # whatever is wrong is what is asked
        from darknet_py.errors import DarknetError
        facts["reason"] = str(error) if isinstance(error, DarknetError) else said(error)
    return facts | {"seconds": round(time.perf_counter() - began, 3)}


def _run(name: str) -> dict[str, Any]:
    import torch

    from darknet_py.cfg.language import parse_cfg
    from darknet_py.inference.backends import BACKENDS, build_backend
    from darknet_py.inference.backends.parity import difference
    from darknet_py.model.network import load_network
    from darknet_py.tools.random_weights import randomize
    backend = BACKENDS[name]
    backend.require((*backend.builds_with, *backend.packages))
    backend.check_device("auto")
    if name == "compile":
        return {"usable": True, "reason": "a C++ compiler is here; not run, as compiling takes long"}
    network = randomize(load_network(parse_cfg(CFG)))
    network.reached = len(network.layers)
    x = torch.rand(1, *network.input_shape, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = [output.float() for output in network.double()(x.double())]
    network.float()
    outputs = [output.cpu() for output in build_backend(network, name)(x)]
    apart = difference(expected, outputs)
    return {"usable": apart <= MOST, "difference": apart,
            "reason": None if apart <= MOST else f"differs by {apart:.2g} from float64, expected {MOST:g} at most"}


if __name__ == "__main__":
    main(sys.argv[1:])
