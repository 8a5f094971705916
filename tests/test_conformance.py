"""Measured outputs of the C program: those of the layer kinds lie here, all others in ../shared."""
import pytest
import torch
from conformance import compare
from conftest import ROOT, SHARED
from goldens import detections, training_faults
from goldens.forward_faults import FAULTS
from goldens.reading import find_goldens

from darknet_py import Detector

OURS = list(find_goldens([ROOT / "tests/goldens/kinds"]))
FOLDERS = [SHARED / "conformance" / name for name in ("forward", "decode", "cli", "train")]
THEIRS = list(find_goldens(FOLDERS)) if all(folder.is_dir() for folder in FOLDERS) else []
PHOTOGRAPHS = [path for path in THEIRS if path.suffix == ".json" and "png" in path.stem]


def label(path):
    return f"{path.parent.name}/{path.stem}"


def check(path, device="cpu"):
    _, result = compare(path, device)
    assert result.passed, result


@pytest.mark.parametrize("path", OURS, ids=label)
def test_layer_kind(path):
    check(path)


@pytest.mark.parametrize("name", [path.stem for path in OURS if path.stem in FAULTS and path.parent.name == "forward"])
def test_only_a_fault_of_c_sets_us_apart(name, monkeypatch):
    """Without the fault built in these goldens differ: no entry of the list is there for nothing."""
    monkeypatch.delitem(FAULTS, name)
    with pytest.raises(AssertionError):
        check(ROOT / f"tests/goldens/kinds/forward/{name}.npz")


def training_golden(name):
    path = ROOT / f"tests/goldens/kinds/train/{name}.npz"
    return path if path.is_file() else SHARED / f"conformance/train/{name}.npz"


NEEDED = [(training_faults.TRAINING_FAULTS, fault, name) for fault, name in training_faults.TRAINING_FAULTS.items()]
NEEDED += [(training_faults.LEFT_OUT, name, name) for name in training_faults.LEFT_OUT]


@pytest.mark.parametrize("table, key, name", [
    pytest.param(*row, marks=[] if training_golden(row[2]).is_relative_to(ROOT) else [
        pytest.mark.slow, pytest.mark.needs_shared("conformance/train")],
        id=getattr(row[1], "__name__", f"{row[1]} left out" if row[0] is training_faults.LEFT_OUT else row[1]))
    for row in NEEDED])
def test_only_what_is_listed_sets_training_apart(table, key, name, monkeypatch):
    """Without the fault built in, or with all keys compared, this training golden differs."""
    monkeypatch.delitem(table, key)
    with pytest.raises(AssertionError):
        check(training_golden(name))


@pytest.mark.slow
@pytest.mark.parametrize("path", THEIRS, ids=label)
def test_original(path):
    check(path)


@pytest.mark.slow
@pytest.mark.needs_shared("conformance")
def test_nothing_is_left_out():
    assert [sum(path.parent.name == folder.name for path in THEIRS) for folder in FOLDERS] == [95, 24, 20, 26]
    assert set(FAULTS) <= {path.stem for path in OURS + THEIRS}


def test_no_kind_is_left_out():
    assert [sum(path.parent.name == folder for path in OURS) for folder in ("forward", "train")] == [102, 88]


@pytest.fixture
def exact_cuda(monkeypatch):
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.mark.gpu
@pytest.mark.parametrize("path", [path for path in OURS + THEIRS if path.suffix == ".npz"], ids=label)
def test_on_gpu(path, exact_cuda):
    check(path, "cuda")


@pytest.mark.parametrize("path", PHOTOGRAPHS, ids=label)
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_half_precision(path, device, monkeypatch):
    """The photographs in float16: confidence within .03."""
    def detector(model):
        found = Detector(f"{model}.cfg", f"{model}.weights", model.parent / "coco.names", thresh=.05, device=device)
        found.network.half()
        return found

    monkeypatch.setattr(detections, "cached_detector", detector)
    monkeypatch.setattr(detections, "CLI_BOUNDS", {True: (.08, .03, .95), False: (.08, .03, .95)})
    check(path)
