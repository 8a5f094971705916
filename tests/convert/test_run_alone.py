"""Models that run from their file alone: their metadata, and that they find what cfg and file find together."""
import hashlib
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from conftest import ROOT, TINY_CFG, raises
from safetensors import safe_open

from darknet_py import Classifier, DarknetError, Detector, load_network, read_cfg
from darknet_py.cfg.metadata import read_texts, stored_cfg
from darknet_py.convert import PLAIN, convert
from darknet_py.convert.describe import describe
from darknet_py.convert.formats import ExportOptions
from darknet_py.convert.int8 import write_onnx
from darknet_py.errors import CfgError, DataError, Reason, WeightsError

DIGITS = ROOT / "cfg/digits.cfg", ROOT / "weights/digits.weights"
PICTURE = ROOT / "cfg/digits.jpg"
KEYS = {"cfg", "cfg_sha256", "format", "heads", "input", "names", "outputs", "precision", "resize", "task",
        "thresholds", "version"}


def same(one, other):
    return (np.array_equal(one.boxes, other.boxes) and np.array_equal(one.scores, other.scores)
            and [found.name for found in one] == [found.name for found in other])


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Digits in each format."""
    folder = tmp_path_factory.mktemp("models")
    for name in ("onnx", "xml", "torchscript", "pt2"):
        convert(*DIGITS, folder / f"m.{name}", check=False)
    return folder


@pytest.mark.parametrize("name", ["onnx", "xml", "torchscript", "pt2"])
def test_a_file_alone(models, name, workdir):
    shutil.copytree(models, "away")         # no names beside it
    alone, both = Detector(f"away/m.{name}"), Detector(DIGITS[0], models / f"m.{name}")
    assert alone.backend.name == both.backend.name and alone.thresh == .25 and alone.nms == .45
    found = alone(str(PICTURE))
    assert len(found) == 23 and same(found, both(str(PICTURE)))
    with raises(WeightsError, Reason.WRONG_FORMAT):
        alone.network                       # noqa: B018


def test_the_command_line(models, cli, workdir):
    shutil.copy(PICTURE, "digits.jpg")
    texts = []
    for words in ((models / "m.onnx",), (DIGITS[0], models / "m.onnx")):
        code, out, errors = cli("detect", *words, "digits.jpg", "-ext_output", "-out", "d.json")
        assert code == 0, errors
        texts.append((out.splitlines()[1:], Path("d.json").read_bytes()))
    assert texts[0] == texts[1] and len(texts[0][0]) == 23
    shutil.copy(ROOT / "cfg/digits.txt", "digits.txt")
    Path("list.txt").write_text("digits.jpg\n")
    Path("d.data").write_text("classes=10\nvalid=list.txt\n")
    code, out, errors = cli("detector", "map", "d.data", models / "m.xml")
    assert code == 0 and "(mAP@0.50) = 1.0" in out, errors
    for name, backend in {"m.onnx": "onnxruntime, ", "m.xml": "openvino, ", "m.pt2": "torch.export, "}.items():
        code, out, errors = cli("info", models / name)
        assert code == 0 and "yolo" in out, errors
        assert f"backend          {backend}for the file is a model for it (-backend auto)\n" in out


def test_metadata_in_onnx_runtime(models):
    texts = onnxruntime.InferenceSession(models / "m.onnx").get_modelmeta().custom_metadata_map
    about = {key.removeprefix("darknet_py."): json.loads(text) for key, text in texts.items()}
    assert about.keys() == KEYS and onnx.load(models / "m.onnx").metadata_props[0].key == "darknet_py.cfg"
    assert about["cfg"] == DIGITS[0].read_text()
    assert about["cfg_sha256"] == hashlib.sha256(DIGITS[0].read_bytes()).hexdigest()
    assert about["names"] == [str(digit) for digit in range(10)] and about["task"] == "detect"
    assert about["input"] == {"name": "images", "layout": "NCHW", "shape": [None, 3, 288, 288], "channels": "RGB",
                              "range": [0, 1], "type": "float32", "resizable": False}
    assert about["resize"] == {"kind": "stretch", "filter": "bilinear", "align_corners": True, "fill": None}
    assert about["thresholds"] == {"score": .25, "nms": .45, "hier": .5, "nms_kind": "greedynms", "beta_nms": .6,
                                   "nms_exponent": .6, "chosen": []}
    assert about["outputs"] == {"form": "heads", "names": ["head_46", "head_53", "head_60"]}
    assert about["heads"][2] == {
        "layer": 60, "kind": "yolo", "output": "head_60", "shape": [45, 9, 9], "classes": 10, "mask": [7, 8, 9],
        "anchors": [[31, 49], [45, 77], [81, 135]], "scale_x_y": 1.05, "new_coords": 0, "entries": 5}


def test_metadata_in_the_other_runtimes(models):
    import openvino
    expected = {f"darknet_py.{key}": text for key, text in read_texts(models / "m.onnx").items()}
    found = openvino.Core().read_model(models / "m.xml").get_rt_info()["darknet_py"]
    assert {f"darknet_py.{key}": value.astype(str) for key, value in found.items()} == expected
    for name, load in (("torchscript", torch.jit.load), ("pt2", torch.export.load)):
        texts = dict.fromkeys(expected, "")
        load(str(models / f"m.{name}"), **{"_extra_files" if name == "torchscript" else "extra_files": texts})
        assert {key: text if isinstance(text, str) else text.decode() for key, text in texts.items()} == expected


def test_metadata_in_safetensors(workdir):
    """... whose older keys stay; also of a cfg that is no UTF-8."""
    text = DIGITS[0].read_bytes() + b"# caf\xe9\n"
    Path("a.cfg").write_bytes(text)
    convert("a.cfg", DIGITS[1], "m.safetensors", names=list("abcdefghij"))
    with safe_open("m.safetensors", "pt") as file:
        metadata = file.metadata()
    assert {"format", "cfg", "header", "layers"} < metadata.keys() and metadata["darknet_py.names"][:5] == '["a",'
    assert stored_cfg("m.safetensors").text.encode("utf-8", "surrogateescape") == text
    assert json.loads(metadata["darknet_py.cfg_sha256"]) == hashlib.sha256(text).hexdigest()


@pytest.mark.parametrize("name", ["onnx", "pt2", "safetensors", "pt"])
def test_the_same_bytes_each_time(name, workdir):
    """PyTorch and OpenVINO number what they make in a process, so .torchscript and .xml are the same once a process."""
    Path("c.cfg").write_text(TINY_CFG)
    load_network("c.cfg").save_weights("c.weights")
    for out in ("a", "b"):
        convert("c.cfg", "c.weights", f"{out}.{name}", check=False)
    assert Path(f"a.{name}").read_bytes() == Path(f"b.{name}").read_bytes()


def test_what_convert_is_told(cli, workdir):
    """Names, thresholds, size, letterbox and number of images; each is obeyed where nothing else is typed."""
    Path("n.names").write_text("".join(f"digit {number}\n" for number in range(10)))
    Path("d.data").write_text("names=n.names\n")
    code, _, errors = cli("convert", *DIGITS, "m.onnx", "-data", "d.data", "-thresh", ".93", "-nms", ".3",
                          "-letter_box", "-width", "320", "-height", "256", "-batch", "2", "-no_check")
    assert code == 0, errors
    shutil.copy(PICTURE, "digits.jpg")
    alone = Detector("m.onnx")
    assert (alone.thresh, alone.nms, alone.letterbox, alone.backend.count) == (.93, .3, True, 2)
    assert tuple(alone.backend.shape) == (3, 256, 320) and alone.names[3] == "digit 3"
    other = Detector(read_cfg(DIGITS[0]).with_values({(0, "width"): 320, (0, "height"): 256}), DIGITS[1], thresh=.93,
                     nms=.3, letterbox=True, backend="onnxruntime")
    found, expected = alone(["digits.jpg"] * 3), other("digits.jpg")
    assert len(found) == 3 and len(expected) > 10
    for one in found:
        np.testing.assert_allclose(one.boxes, expected.boxes, atol=.01)
        assert one.labels.tolist() == expected.labels.tolist()
    counts = [cli("detect", "m.onnx", "digits.jpg", *words)[1].count("digit ") for words in ([], ["-thresh", ".5"])]
    assert counts[0] == len(expected) < counts[1]
    assert Detector("m.onnx", thresh=.1, names=list("abcdefghij")).thresh == .1


@pytest.mark.parametrize("name", ["onnx", "xml"])
def test_decoded_boxes_run_alone(name, workdir, cli):
    convert(*DIGITS, f"m.{name}", options=ExportOptions("boxes"), check=False)
    found, expected = (Detector(*files)([str(PICTURE)] * 2)[1] for files in ([f"m.{name}"], DIGITS))
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=.01)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
    assert found.labels.tolist() == expected.labels.tolist()
    with pytest.raises(DarknetError, match=rf"^m.{name}: expected a model that gives 2 x 60 x 36 x 36 and "):
        Detector(DIGITS[0], f"m.{name}")    # with a cfg it is what it was
    Path("list.txt").write_text(f"{PICTURE}\n")
    Path("d.data").write_text("valid=list.txt\n")
    code, _, errors = cli("detector", "recall", "d.data", f"m.{name}")
    assert code == 1 and errors == f"darknet-py: m.{name}: gives scores without objectness (-outputs boxes), which " \
                                   "recall needs\n"


def test_suppressed_boxes_do_not_run(workdir, cli):
    convert(*DIGITS, "m.onnx", options=ExportOptions("nms", threshold=.5), check=False)
    code, _, errors = cli("detect", "m.onnx", PICTURE)
    assert code == 1 and errors == (
        "darknet-py: m.onnx: gives boxes after suppression (-outputs nms), for other programs; expected a model that "
        "darknet-py convert makes without that, or with -outputs boxes\n")


def test_a_file_of_another_program_needs_its_cfg(models, workdir, cli):
    model = onnx.load(models / "m.onnx")
    del model.metadata_props[:]
    onnx.save(model, "m.onnx")
    code, out, errors = cli("detect", "m.onnx", PICTURE)
    assert code == 1 and out == "" and errors == (
        "darknet-py: m.onnx: lacks darknet_py.cfg in its metadata, so it does not run alone: make it with darknet-py "
        "convert CFG WEIGHTS m.onnx, or give its CFG before it\n")
    with raises(DataError, Reason.MISSING_KEY):
        Detector("m.onnx")
    assert len(Detector(DIGITS[0], "m.onnx")(str(PICTURE))) == 23


def test_another_model_with_the_cfg_of_a_file(models, workdir):
    """That file's form and number of images are not the other's."""
    convert(*DIGITS, "b.onnx", options=ExportOptions("boxes", batch=1), check=False)
    assert same(Detector("b.onnx", models / "m.onnx")(str(PICTURE)), Detector(models / "m.onnx")(str(PICTURE)))
    with raises(WeightsError, Reason.WRONG_FORMAT, "^b.onnx: expected weights, found a model for another runtime$"):
        convert(DIGITS[0], "b.onnx", "c.onnx")


def test_a_threshold_out_of_range(workdir):
    with pytest.raises(DarknetError, match=r"^thresh needs a number from 0 to 1, found 2$"):
        convert(*DIGITS, "a.onnx", options=ExportOptions(threshold=2))


CLASSIFIER = """[net]
width=8
height=8
channels=3
[convolutional]
filters=3
activation=linear
[avgpool]
[softmax]
tree=a.tree
"""


@pytest.mark.parametrize("name", ["onnx", "torchscript"])
def test_a_classifier_with_a_tree(name, workdir):
    """The tree's file comes along."""
    Path("make").mkdir()
    Path("make/a.cfg").write_text(CLASSIFIER)
    Path("make/a.tree").write_text("animal -1\ncat 0\ndog 0\n")
    torch.manual_seed(0)
    load_network("make/a.cfg").save_weights("a.weights")
    expected = Classifier("make/a.cfg", "a.weights", list("abc"))(str(PICTURE))
    convert("make/a.cfg", "a.weights", f"m.{name}", names=list("abc"))
    shutil.rmtree("make")
    alone = Classifier(f"m.{name}")
    assert alone.names == ["a", "b", "c"] and alone.tree.names == ["animal", "cat", "dog"]
    np.testing.assert_allclose(alone(str(PICTURE)).scores, expected.scores, atol=1e-5)
    convert(stored_cfg(f"m.{name}"), "a.weights", "again.onnx")
    assert stored_cfg("again.onnx").stored.files == {"a.tree": "animal -1\ncat 0\ndog 0\n"}
    with raises(CfgError, Reason.WRONG_TASK):
        Detector(f"m.{name}")


def test_int8(models, workdir):
    """What is quantized carries the metadata, and says what it computes in."""
    class Pictures:
        def __iter__(self):
            yield {"images": np.random.default_rng(0).random((1, 3, 288, 288), np.float32)}

    network = load_network(*DIGITS)
    metadata = describe(network, PLAIN, list("abcdefghij"), True, "int8")
    write_onnx(Path("q.onnx"), models / "m.onnx", network, Pictures(), (), False, metadata)
    alone = Detector("q.onnx")
    assert alone.backend.precision == "int8" and alone.letterbox and alone.names == list("abcdefghij")
    assert read_texts("q.onnx")["precision"] == '"int8"'


def test_other_runtimes_accept_it(models):
    model = onnx.load(models / "m.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert (model.ir_version, model.opset_import[0].version) == (8, 17)     # of ONNX 1.12, June 2022
    import openvino
    compiled = openvino.Core().compile_model(str(models / "m.onnx"), "CPU")
    assert [tuple(output.partial_shape)[1:] for output in compiled.outputs] == [(60, 36, 36), (45, 18, 18), (45, 9, 9)]
    network = cv2.dnn.readNetFromONNX(str(models / "m.onnx"))
    network.setInput(np.zeros((1, 3, 288, 288), np.float32))
    assert network.forward("head_60").shape == (1, 45, 9, 9)
