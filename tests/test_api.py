"""The public names: exported, documented, typed for programs that use them, and safe to share between threads."""
import ast
import inspect
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

import darknet_py
from darknet_py import Detector
from darknet_py.data.image import read_image
from darknet_py.inference.backends import BACKENDS

NAMES = [name for name in darknet_py.__all__ if name != "__version__"]


def members():
    """(name, object) of all that is public and ours: the names, and the methods and properties of their classes."""
    for name in NAMES:
        yield name, getattr(darknet_py, name)
        found = getattr(darknet_py, name)
        for base in found.__mro__ if inspect.isclass(found) else ():
            if base.__module__.startswith("darknet_py"):
                yield from ((f"{name}.{key}", getattr(value, "__func__", value)) for key, value in vars(base).items()
                            if not key.startswith("_") and (inspect.isfunction(value) or isinstance(
                                value, (property, classmethod, staticmethod))))
        if "__call__" in vars(found):
            yield f"{name}.__call__", found.__call__


@pytest.mark.parametrize("name, found", list(members()), ids=[name for name, _ in members()])
def test_documented(name, found):
    """With each argument or field by its name, or by a reference to what has the same ones."""
    found = found.convert if inspect.ismodule(found) else found
    text = inspect.getdoc(found)
    assert text and len(text.split()) > 2
    if not callable(found) or (inspect.isclass(found) and issubclass(found, (Exception, Enum))):
        return
    arguments = [key for key in inspect.signature(found).parameters if key not in ("self", "cls")]
    assert [key for key in arguments if not re.search(rf"\b{key}\b", text)] == []


def test_names_agree():
    """Those that are there at run time are those that a type checker sees, and sorted."""
    tree = ast.parse(Path(darknet_py.__file__).read_text("utf-8"))
    checking = next(node for node in tree.body if isinstance(node, ast.If))
    seen = [alias.name for node in checking.body for alias in node.names]
    assert sorted(seen) == sorted(NAMES) and darknet_py.__all__ == sorted(darknet_py.__all__)
    assert dir(darknet_py) == darknet_py.__all__


def test_in_a_line(demo, workdir):
    """What a notebook shows of each; and the tables that print for those who ask."""
    detector = Detector(*demo[:2], device="cpu", backend="pytorch", thresh=.3)
    assert repr(detector) == "Detector(shapes.cfg, shapes.weights: 3 classes, 512 x 384, pytorch float32 on cpu)"
    info = detector.info()
    assert (info.task, info.cfg, info.width, info.height, info.channels) == ("detection", demo[0], 512, 384, 3)
    assert (info.classes, info.names, info.thresh) == (3, ("circle", "square", "triangle"), .3)
    assert info.parameters == 112790 and info.bflops == pytest.approx(1.732, abs=.001) and info.letterbox is False
    lines = dict(line.split(maxsplit=1) for line in repr(info).splitlines())
    assert lines["classes"] == "3: circle, square, triangle" and lines["input"].startswith("512 x 384 x 3 ")
    assert lines["weights"] == str(demo[1]) and lines["backend"] == "pytorch, float32 on cpu"
    assert repr(detector.network) == "Network(shapes.cfg: 17 layers, 512 x 384 x 3, outputs of [yolo], [yolo])"
    assert re.search(r"^    0 conv .*\n(.*\n)*parameters +112,790$", detector.network.summary(), re.M)
    cfg = darknet_py.parse_cfg("[net]\nwidth=8\nheight=8\nchannels=3\n[convolutional]\nfilters=2\n[softmax]\n")
    darknet_py.load_network(cfg).save_weights("c.weights")
    classifier = darknet_py.Classifier(cfg, "c.weights", ["x" * 80, "y" * 80] * 64, device="cpu", backend="pytorch")
    assert repr(classifier) == "Classifier(c.weights: 128 classes, 8 x 8, pytorch float32 on cpu)"
    lines = repr(classifier.info()).splitlines()
    assert max(map(len, lines)) < 120 and not any(line.startswith(("cfg", "thresh", "nms")) for line in lines)


def test_convert_is_a_package_and_a_function():
    """Whichever of them was imported first."""
    code = ("import darknet_py; first = darknet_py.convert; from darknet_py.convert import convert, FORMATS; "
            "from darknet_py import convert as again; import inspect; "
            "assert first is again and first.convert is convert; "
            "assert inspect.signature(first) == inspect.signature(convert); "
            "print(first('cfg/shapes.cfg', 'weights/shapes.weights', 'none.xyz'))")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert "DarknetError: none.xyz: expected a format" in done.stderr


PROGRAM = '''
from collections.abc import Iterator

import numpy as np

from darknet_py import (
    Classifier, DarknetError, Detection, Detections, Detector, Frame, ModelInfo, Network, convert, load_network, train)


def boxes(path: str) -> list[tuple[str, float]]:
    detector = Detector("a.cfg", "a.weights", thresh=.3, device=0)
    found: Detections = detector(path, thresh=.5, nms=.4)
    several: list[Detections] = detector([path, np.zeros((4, 4, 3), np.uint8)])
    first: Detection = found[0]
    some: Detections = found[found.scores > .5]["dog"][:3].filter(["cat", 2], score=.5, area=(10, 100))
    pictures: list[np.ndarray] = some.crop(padding=2)
    text: str = some.to_csv("a.csv") + some.to_voc() + some.to_yolo()
    info: ModelInfo = detector.info()
    print(len(several), first.name.upper(), pictures[0].shape, text, info.bflops / 2, info.weights)
    return [(one.name, one.score) for one in found]


def frames(detector: Detector, paths: list[str]) -> Iterator[Frame]:
    for _, frame in detector.stream(paths, batch=2):
        if isinstance(frame, DarknetError):
            continue
        yield frame


def others(classifier: Classifier) -> Network:
    best = classifier("a.jpg").top(1)[0].name
    network = load_network("a.cfg", device="cuda:0")
    print(best.upper(), network.summary().splitlines(), train("a.data", "a.cfg").iteration + 1)
    print(convert("a.cfg", "a.weights", "a.onnx").files)
    return network
'''


def checked(program, workdir):
    """mypy of a program, with what it knows of PyTorch kept between runs."""
    workdir.joinpath("program.py").write_text(program)
    words = "--strict", "--ignore-missing-imports", "--cache-dir", ROOT / ".mypy_cache/programs", "program.py"
    return subprocess.run([sys.executable, "-m", "mypy", *words], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})


@pytest.mark.slow
def test_programs_are_type_checked(workdir):
    """As those of a user are: the package says that it has types, and mypy finds a mistake by them."""
    pytest.importorskip("mypy")
    assert Path(darknet_py.__file__).with_name("py.typed").is_file()
    done = checked(PROGRAM, workdir)
    assert done.returncode == 0, done.stdout + done.stderr
    done = checked(PROGRAM.replace("first.name.upper()", "first.naem"), workdir)
    assert re.search(r'"Detection" has no attribute "naem"', done.stdout) and "Found 1 error" in done.stdout


@pytest.mark.parametrize("backend", [name for name in BACKENDS if name not in ("tensorrt", "compile")])
def test_threads_share_a_detector(demo, backend):
    """What one finds is not disturbed by the others, with thresholds of their own."""
    for package in BACKENDS[backend].packages:
        pytest.importorskip(package)
    detector = Detector(*demo[:2], device="cpu", backend=backend)
    picture = read_image(demo[2])
    jobs = [(np.ascontiguousarray(picture[:, shift:]), thresh) for shift in (0, 60, 120, 180) for thresh in (.25, .6)]
    expected = [detector(image, thresh=thresh) for image, thresh in jobs]
    assert len({one.boxes.tobytes() for one in expected}) > 3
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda job: detector(job[0], thresh=job[1]), jobs * 4))
    for one, other in zip(found, expected * 4, strict=True):
        np.testing.assert_array_equal(one.boxes, other.boxes)
