"""The programs in docs/snippets find what ``Detector`` finds, from a model's file alone."""
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import ROOT

from darknet_py import Detector
from darknet_py.convert import convert
from darknet_py.convert.formats import ExportOptions

DIGITS = ROOT / "cfg/digits.cfg", ROOT / "weights/digits.weights"
PICTURE = ROOT / "cfg/digits.jpg"
SNIPPETS = ROOT / "docs/snippets"
NODE_MODULES = Path(os.environ.get("DARKNET_PY_NODE_MODULES", ROOT / "node_modules"))    # with onnxruntime-web, jpeg-js


@pytest.fixture(scope="module", params=[False, True], ids=["stretch", "letterbox"])
def given(request, tmp_path_factory):
    """A folder with m.onnx, m.xml, p.jpg and p.ppm, and a detector with the same network."""
    folder = tmp_path_factory.mktemp("snippets")
    for name in ("m.onnx", "m.xml"):
        convert(*DIGITS, folder / name, options=ExportOptions("boxes", threshold=.3, nms=.4), check=False,
                letterbox=request.param)
    cv2.imwrite(str(folder / "p.jpg"), cv2.imread(str(PICTURE))[:, :-40])
    cv2.imwrite(str(folder / "p.ppm"), cv2.imread(str(folder / "p.jpg")))
    return folder, Detector(*DIGITS, thresh=.3, nms=.4, letterbox=request.param, backend="onnxruntime")


def check(output, expected):
    """Compare the lines that a program printed, name, score, left, top, right, bottom, with detections."""
    found = sorted(tuple(map(float, line.split())) for line in output.splitlines())
    rows = sorted((int(one.name), one.score, *one.box) for one in expected)
    assert len(found) == len(rows) > 15, output
    found, rows = np.array(found), np.array(rows)
    assert (found[:, 0] == rows[:, 0]).all()
    np.testing.assert_allclose(found[:, 1], rows[:, 1], atol=.001)
    np.testing.assert_allclose(found[:, 2:], rows[:, 2:], atol=.1)


def run(*words, **options):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_python(given):
    folder, detector = given
    script = (SNIPPETS / "detect.py").read_text()
    assert "darknet_py import" not in script and "import torch" not in script
    check(run(sys.executable, SNIPPETS / "detect.py", folder / "m.onnx", folder / "p.jpg"),
          detector(str(folder / "p.jpg")))


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """The C++ program, built against the headers and libraries in OpenVINO's wheel."""
    if shutil.which("g++") is None or (spec := importlib.util.find_spec("openvino")) is None:
        pytest.skip("needs g++ and OpenVINO")
    home, program = Path(spec.origin).parent, tmp_path_factory.mktemp("compiled") / "detect"
    library = next(iter(sorted(home.glob("libs/libopenvino.so.*"))), None)
    if library is None or not (home / "include/openvino").is_dir():
        pytest.skip("needs OpenVINO's wheel for Linux")
    run("g++", "-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-isystem", home / "include",
        SNIPPETS / "detect.cpp", f"-L{home / 'libs'}", f"-l:{library.name}", f"-Wl,-rpath,{home / 'libs'}",
        "-o", program)
    return program


@pytest.mark.parametrize("model", ["m.onnx", "m.xml"])
def test_cpp(given, compiled, model):
    folder, detector = given
    check(run(compiled, folder / model, folder / "p.ppm"), detector(str(folder / "p.ppm")))


PIXELS = """
import { readFileSync, writeFileSync } from "node:fs";
import jpeg from "jpeg-js";
writeFileSync("pixels", jpeg.decode(readFileSync(process.argv[2])).data);
"""


def test_javascript(given, tmp_path):
    """With the pixels of jpeg-js, which are not quite those of OpenCV."""
    folder, detector = given
    if shutil.which("node") is None or not (NODE_MODULES / "onnxruntime-web").is_dir():
        pytest.skip("needs node, and npm install --no-save onnxruntime-web jpeg-js (or DARKNET_PY_NODE_MODULES=FOLDER)")
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    shutil.copy(SNIPPETS / "detect.mjs", tmp_path)
    output = run("node", "detect.mjs", folder / "m.onnx", folder / "p.jpg", cwd=tmp_path)
    (tmp_path / "pixels.mjs").write_text(PIXELS)
    run("node", "pixels.mjs", folder / "p.jpg", cwd=tmp_path)
    rgba = np.fromfile(tmp_path / "pixels", np.uint8).reshape(*cv2.imread(str(folder / "p.jpg")).shape[:2], 4)
    check(output, detector(np.ascontiguousarray(rgba[:, :, 2::-1])))
