"""Shared by the tests: where things lie, and the order of the tests."""
import gc
import os
import sys
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from pictures import squares
from web import Web

from darknet_py import load_network
from darknet_py.cli import main
from darknet_py.viz import figures

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"         # real weights and all goldens; only developers have it
sys.path[:0] = [str(ROOT / folder) for folder in (
    "scripts", "scripts/examples/digits", "scripts/examples/shapes", "tests/goldens")]
import kit  # noqa: E402

LONGEST = ("test_all_parts_on_the_cpu", "rnn.train")
# The networks are small, and results do not depend on the machine; what tests start and the workers inherit it. The C
# library keeps the memory of large tensors (utils/memory.py).
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.update({"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2 ** 31), "MALLOC_TOP_PAD_": str(2 ** 24)})


def pytest_xdist_auto_num_workers(config):
    """All tests run in several processes, those that are named in one."""
    return min(len(os.sched_getaffinity(0)), 4) if config.args_source is config.ArgsSource.TESTPATHS else 0


def pytest_collection_modifyitems(items):
    """Skip what needs ../shared or a GPU where there is none. Fast tests first: the full conformance run, then what
    needs a GPU, come last. Tests of minutes begin each part, so that no process ends with one when others have none."""
    for item in items:
        if any(not SHARED.joinpath(*marker.args).exists() for marker in item.iter_markers("needs_shared")):
            item.add_marker(pytest.mark.skip(reason="needs ../shared, which only developers have"))
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="no GPU"))
    items.sort(key=lambda item: (bool(item.get_closest_marker("gpu")), bool(item.get_closest_marker("slow")),
                                 not any(name in item.nodeid for name in LONGEST)))


def pytest_collection_finish():
    """What is imported by now stays: to look through it for garbage takes a quarter of the tests' time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


@pytest.fixture(autouse=True)
def blank_figures(request, monkeypatch):
    """Figures are written in their size but blank: to render those of all tests takes a quarter of the tests' time.
    Tests marked ``rendered`` look at what a figure shows; each figure has one."""
    render = figures._rendered

    def blank(figure, extension):
        if extension not in ("png", "jpg"):
            return render(figure, extension)
        width, height = (figure.get_size_inches() * figure.dpi).round().astype(int)
        return cv2.imencode(f".{extension}", np.full((height, width, 3), 255, np.uint8))[1].tobytes()

    if not request.node.get_closest_marker("rendered"):
        monkeypatch.setattr(figures, "_rendered", blank)


@pytest.fixture(scope="session", autouse=True)
def model_cache(tmp_path_factory):
    """The folder of compiled models: of these tests alone, so that each is built once."""
    os.environ["DARKNET_PY_CACHE"] = folder = str(tmp_path_factory.mktemp("models"))
    return Path(folder)


@pytest.fixture
def demo():
    """(cfg, weights, picture) of the network in the repository."""
    return ROOT / "cfg/shapes.cfg", ROOT / "weights/shapes.weights", ROOT / "cfg/shapes.png"


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """An empty folder, now the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def cli(capsys):
    """Run the command line in this process: its words -> (exit code, stdout, stderr)."""
    def run(*words):
        capsys.readouterr()
        try:
            code = main([str(word) for word in words])
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def web(monkeypatch):
    """A server on this machine."""
    monkeypatch.setenv("no_proxy", "*")
    with Web() as server:
        yield server


@contextmanager
def raises(kind, reason, says=None):
    """Expects an error of this kind and for this reason; ``says`` is a pattern for where its words matter."""
    with pytest.raises(kind, match=says) as caught:
        yield caught
    assert caught.value.reason is reason


def write(files: dict[str, str | bytes | None]) -> None:
    """Write files of these names, with the folders that they lie in; None removes one."""
    for name, content in files.items():
        if content is None:
            Path(name).unlink()
        else:
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_bytes(content.encode() if isinstance(content, str) else content)


TINY_CFG = """[net]
batch=4
subdivisions=2
width=32
height=32
channels=3
learning_rate=0.01
burn_in=0
max_batches=12
policy=constant
momentum=0.9
decay=0.0005
hue=.1
saturation=1.5

[convolutional]
batch_normalize=1
filters=8
size=3
stride=4
pad=1
activation=leaky

[convolutional]
filters=14
size=1
activation=linear

[yolo]
mask=0,1
anchors=8,8, 16,16
classes=2
num=2
iou_loss=ciou
iou_normalizer=.07
"""


@pytest.fixture
def tiny(workdir):
    """The folder, now the working directory, of a small data set: tiny.cfg, tiny.data, six pictures with a square or
    two each, of two colours."""
    Path("train.txt").write_text("".join(f"{name}\n" for name in squares()))
    Path("tiny.names").write_text("light\ndark\n")
    Path("tiny.data").write_text("classes=2\ntrain=train.txt\nvalid=train.txt\nnames=tiny.names\nbackup=backup\n"
                                 "savelast=4\n")
    Path("tiny.cfg").write_text(TINY_CFG)
    return workdir


@pytest.fixture
def typed(tiny, cli):
    """Type a command that trains: its exit code, the iterations that it did, and the lines that it said beside them."""
    def type_in(*words, data="tiny.data", seed="3", report=False):
        words = [*words, *["-no_report"] * (not report)]
        code, out, err = cli("train", data, "tiny.cfg", "-device", "cpu", "-workers", "0",
                             *(["-seed", seed] if seed else []), *words)
        lines = [line for line in (out + err).splitlines() if not line.startswith("saved ")]
        done = [line for line in lines if " avg loss, " in line]
        said = [line for line in lines if line not in done]
        return code, [int(line.split(":")[0]) for line in done], "\n".join(said)
    return type_in


def measured_weights(path, cfg, seed):
    """Write weights that C was measured with, by the kit's generator, for a network without batch normalisation."""
    network = load_network(cfg)
    with torch.no_grad():
        for number, blob in enumerate(blob for layer in network.layers for blob in layer.blobs()):
            blob.tensor.copy_(torch.from_numpy(kit.values(seed, number, blob.tensor.numel(), -1, 2))
                              .view_as(blob.tensor))
    network.save_weights(path)
