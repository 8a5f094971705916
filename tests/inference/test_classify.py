"""Classifiers: what they say of a picture, how often they are right, and their command line. The figures are C's."""
import io
import re
import sys
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import TINY_CFG, kit, measured_weights, raises
from processes import finish

from darknet_py import (
    CfgError,
    Classifier,
    DarknetError,
    DataError,
    Reason,
    evaluate_classifier,
    load_network,
    parse_cfg,
)
from darknet_py.data.classification import ClassifierPictures
from darknet_py.evaluation.classification import ClassifierResult, ranks
from darknet_py.inference.backends.pytorch import PyTorch
from darknet_py.inference.classifier import network_output, output_layer
from darknet_py.utils.prefetch import prefetch

NAMES = ["round", "edgy", "disc", "ring", "square", "star"]
PARENTS = [-1, -1, 0, 0, 1, 1]
CFG = """[net]
batch=4
subdivisions=1
width=20
height=16
channels=3

[convolutional]
filters=8
size=3
stride=2
pad=1
activation=leaky

[convolutional]
filters=6
size=1
activation=linear

[avgpool]

[softmax]
{end}
"""


@pytest.fixture
def folder(workdir):
    """The folder, now the working directory, of a data set: ten pictures, flat.cfg and tree.cfg, and their weights."""
    for number in range(10):
        height, width = 18 + number, 30 - number
        pixels = kit.values(1, number, height * width * 3, 0, 256).reshape(height, width, 3)
        pixels[:, :, number % 3] *= number / 10
        cv2.imwrite(f"{NAMES[2 + number % 4]}_{number}.png", pixels.astype(np.uint8))
    Path("list.txt").write_text("".join(f"{NAMES[2 + number % 4]}_{number}.png\n" for number in range(10)))
    Path("c.names").write_text("\n".join(NAMES) + "\n")
    Path("c.data").write_text("classes=6\nvalid=list.txt\nlabels=c.names\ntop=2\n")
    Path("leaves.txt").write_text("round\nring\nsquare\n")
    Path("leaves.data").write_text(Path("c.data").read_text() + "leaves=leaves.txt\n")
    Path("c.tree").write_text("".join(f"{name} {parent}\n" for name, parent in zip(NAMES, PARENTS, strict=True)))
    Path("flat.cfg").write_text(CFG.format(end="groups=1"))
    Path("tree.cfg").write_text(CFG.format(end="tree=c.tree"))
    measured_weights("c.weights", "flat.cfg", 11)
    return workdir


@pytest.fixture
def valid(folder, cli):
    """Run classifier valid there: (exit code, stdout, stderr)."""
    return partial(cli, "classifier", "valid", "-device", "cpu")


@pytest.mark.parametrize("data, cfg, line", [
    ("c.data", "flat.cfg", "9: top 1: 0.200000, top 2: 0.400000"),
    ("c.data", "tree.cfg", "9: top 1: 0.400000, top 2: 0.500000"),
    ("leaves.data", "tree.cfg", "9: top 1: 0.100000, top 2: 0.300000")])
def test_valid_is_as_right_as_c(valid, data, cfg, line):
    code, out, err = valid(data, cfg, "c.weights")
    assert code == 0 and out.startswith(" TOP calculation...\n") and out.splitlines()[-1] == line
    assert re.search(r"^ star +2 .*%$", out, re.M) and re.search(r"^ edgy +0 +- +-$", out, re.M)
    assert re.fullmatch(r"10 pictures in \d+\.\d seconds, \S+ a second\n", err)


@pytest.mark.parametrize("cfg, lines", [
    ("flat.cfg", ["square: 0.609266", "star: 0.312823", "disc: 0.042296", "ring: 0.033306", "edgy: 0.001466",
                  "round: 0.000845"]),
    ("tree.cfg", ["1, edgy: 0.634408, parent: Root ", "4, square: 0.419182, parent: edgy ",
                  "0, round: 0.365592, parent: Root ", "5, star: 0.215226, parent: edgy ",
                  "2, disc: 0.204533, parent: round ", "3, ring: 0.161059, parent: round "])])
def test_predict_says_what_c_says(folder, cli, cfg, lines):
    """To the sixth digit, give or take one."""
    code, out, _ = cli("classifier", "predict", "c.data", cfg, "c.weights", "disc_8.png", "-t", "6", "-device", "cpu")
    first, *found = out.splitlines()
    assert code == 0 and re.fullmatch(r"disc_8.png: Predicted in \d+\.\d+ milli-seconds\.", first)
    number = r"\d\.\d{6}"
    assert [re.sub(number, "", line) for line in found] == [re.sub(number, "", line) for line in lines]
    for ours, theirs in zip(found, lines, strict=True):
        assert float(re.search(number, ours)[0]) == pytest.approx(float(re.search(number, theirs)[0]), abs=2e-6)


@pytest.mark.parametrize("words, k", [
    ([], 2), (["-topk", "3"], 3), (["-t", "3"], 3), (["-top", "3"], 3), (["--topk=3"], 3), (["-topk"], 2),
    (["-topk", "99"], 6)])
def test_how_many_of_the_likeliest(valid, cli, words, k):
    """The flag stands anywhere, also before the verb's other words."""
    for order in (["c.data", "flat.cfg", "c.weights", *words], [*words, "c.data", "flat.cfg", "c.weights"]):
        code, out, _ = valid(*order)
        assert code == 0 and f", top {k}: " in out
        code, out, _ = cli("classifier", "predict", *order, "star_3.png", "-device", "cpu")
        assert code == 0 and len(out.splitlines()) == 1 + k


def test_processes_share_the_pictures(valid):
    """Every batch has the same pictures as with one process; a broken one and one without a class are said once."""
    Path("star_3.png").write_bytes(b"no picture")
    Path("disc_8.png").rename("other.png")
    Path("list.txt").write_text(Path("list.txt").read_text().replace("disc_8", "other"))
    code, out, err = valid("c.data", "flat.cfg", "c.weights")
    assert code == 0
    code, both, errors = finish("classifier", "valid", "c.data", "flat.cfg", "c.weights", "-device", "cpu", processes=2)
    assert code == 0, errors
    assert both == out and out.splitlines()[-1].startswith("8: top 1: ")
    for problem in ("1 of 10 pictures cannot be read and are left out; the first: star_3.png: not an image",
                    "1 of 10 pictures count as wrong, for their paths name no class; the first: other.png"):
        assert err.count(problem) == errors.count(problem) == 1


def test_errors_of_one_process_are_those_of_all(folder):
    measured_weights("nan.weights", "flat.cfg", 11)
    data = np.fromfile("nan.weights", np.float32)
    data[-1] = np.nan
    data.tofile("nan.weights")
    code, _, err = finish("classifier", "valid", "c.data", "flat.cfg", "nan.weights", "-device", "cpu", processes=2)
    assert code == 1 and err.count("layer 1 [convolutional] gives nan in ") == 2


def test_evaluation_leaves_the_network_alone(folder):
    network = load_network("flat.cfg", "c.weights").train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    pictures = ClassifierPictures.from_data("c.data", "valid")
    seen = []
    results = [evaluate_classifier(network, pictures, batch=batch, workers=2, progress=lambda *at: seen.append(at))
               for batch in (1, 10)]
    assert results[0].labels.tolist() == results[1].labels.tolist() == [2, 3, 4, 5, 2, 3, 4, 5, 2, 3]
    assert results[0].ranks.tolist() == results[1].ranks.tolist() and len(results[0]) == 10
    assert seen == [(number + 1, 10) for number in range(10)] + [(10, 10)]
    assert network.training and not network.folded
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_classifier_in_python(folder):
    """Paths and arrays, one or several; recurrent layers do not mix pictures."""
    classifier = Classifier("tree.cfg", "c.weights", data="c.data", device="cpu")
    one = classifier("disc_8.png")
    assert one.path == "disc_8.png" and [guess.name for guess in one.top(2)] == ["edgy", "square"]
    assert one.top(1)[0].parent == -1 and one.top(9)[1].parent == 1 and len(one.top(9)) == 6 and one.top(0) == []
    assert "disc_8.png\n  edgy 63.4%\n  square" in repr(one)
    several = classifier(["star_3.png", cv2.imread("disc_8.png")])
    np.testing.assert_allclose(several[1].scores, one.scores, atol=1e-6)
    assert several[1].path is None and classifier([]) == []
    pictures = ["star_3.png", "missing.png", "disc_8.png"]
    paths, streamed = zip(*classifier.stream(pictures, batch=2), strict=True)
    assert list(paths) == pictures and isinstance(streamed[1], DataError) and streamed[2].seconds > 0
    np.testing.assert_allclose(streamed[2].prediction.scores, one.scores, atol=1e-6)
    with pytest.raises(DataError, match=r"missing.png"):
        classifier(pictures)
    grey = cv2.imread("disc_8.png", cv2.IMREAD_GRAYSCALE)
    assert classifier(grey).scores.shape == (6,)
    assert Classifier("flat.cfg", "c.weights", list("abcdef"), device="cpu")("disc_8.png").top()[0].parent is None


def test_up_to_a_hundred_classes_have_a_line_each():
    """Then that of validate_classifier_single, which counts from 0."""
    for classes, table in ((100, [" class  pictures   top 1   top 2", " 0             2  50.00% 100.00%",
                                  " 1             2   0.00%  50.00%", " 2             0       -       -"]), (101, [])):
        result = ClassifierResult([str(label) for label in range(classes)], np.array([0, 1, 1, 0]),
                                  np.array([0, 1, 7, 1]))
        lines = result.text(2).splitlines()
        assert result.text() == result.text(1) and "top 2" not in result.text()
        assert lines[:-1][:4] == table and len(lines) == (102 if table else 1)
        assert lines[-1] == "3: top 1: 0.250000, top 2: 0.750000"


@pytest.mark.parametrize("label, rank", [(0, 1), (1, 0), (2, 2), (3, 3), (-1, 4)])
def test_ranks(label, rank):
    """Of equal classes the first comes first, as in C."""
    assert ranks(torch.tensor([[.3, .4, .3, 0]]), torch.tensor([label])).tolist() == [rank]


def test_answers_are_those_before_cost():
    """Of a network that ends in [cost] alone too, or in no head."""
    body = TINY_CFG[:TINY_CFG.index("[yolo]")] + "[avgpool]\n\n"
    x = torch.rand(3, 3, 32, 32)
    for end in ("[softmax]\n", "[softmax]\n\n[cost]\n", "[cost]\n", ""):
        network = load_network(parse_cfg(body + end))
        found = network_output(PyTorch(network, [output_layer(network)]), x, "x")
        assert found.shape == (3, 14) and found.abs().sum() > 0
        assert torch.allclose(found.sum(1), torch.ones(3)) == ("softmax" in end)


def test_paths_from_standard_input(folder, monkeypatch, cli):
    monkeypatch.setattr(sys, "stdin", io.StringIO("disc_8.png\nmissing.png\nstar_3.png\n"))
    code, out, err = cli("classifier", "predict", "c.data", "flat.cfg", "c.weights", "-device", "cpu")
    assert code == 1 and out.count("Enter Image Path: ") == 4 and out.count("Predicted in") == 2
    assert err.count("\n") == 1 and "missing.png" in err


FILES = {"few.data": "classes=6\nvalid=list.txt\nlabels=few.names\n", "few.names": "a\nb\n",
         "five.data": "classes=5\nvalid=list.txt\nlabels=c.names\n", "none.data": "classes=6\nlabels=c.names\n",
         "empty.data": "classes=6\nvalid=empty.txt\nlabels=c.names\n", "empty.txt": "\n",
         "gone.data": "classes=6\nvalid=gone.txt\nlabels=c.names\n", "gone.txt": "star_a.png\nstar_b.png\n",
         "top.data": "classes=6\nvalid=list.txt\nlabels=c.names\ntop=x\n",
         "wild.data": "classes=6\nvalid=list.txt\nlabels=c.names\nleaves=few.names\n",
         "tiny.cfg": TINY_CFG, "rnn.cfg": "[net]\ninputs=6\n[softmax]\n"}


@pytest.mark.parametrize("words, message", [
    (["valid", "five.data", "flat.cfg"], "five.data: has 5 classes, the network 6 (flat.cfg, line 22)"),
    (["predict", "five.data", "flat.cfg", "star_3.png"], "five.data: has 5 classes, the network 6 (flat.cfg, line 22)"),
    (["valid", "few.data", "flat.cfg"], "few.data: valid (list.txt): expected names for 6 classes, found 2"),
    (["predict", "few.data", "flat.cfg", "star_3.png"], "few.names: needs 6 names, one for each class, got 2"),
    (["predict", "c.data", "flat.cfg", "star_3.png", "-names", "few.names"], "few.names: needs 6 names"),
    (["valid", "none.data", "flat.cfg"], "none.data: expected valid= and labels=, found classes, labels"),
    (["valid", "empty.data", "flat.cfg"], "empty.data: valid (empty.txt): expected pictures, found none"),
    (["valid", "gone.data", "flat.cfg"], "none of the 2 pictures can be read; the first: star_a.png: cannot read"),
    (["valid", "top.data", "flat.cfg"], "top.data: top needs a whole number from 1 on, found 'x'"),
    (["valid", "wild.data", "flat.cfg"], "leaves= needs a network with a tree of classes"),
    (["valid", "wild.data", "tree.cfg"], "leaves= needs names of classes in the tree, found 2 others"),
    (["valid", "c.data", "tiny.cfg"], "tiny.cfg:29: [yolo] finds boxes, so this network does not name whole pictures"),
    (["valid", "c.data", "rnn.cfg"], "rnn.cfg:1: takes no pictures: its input has 6 channels"),
    (["valid", "c.data", "flat.cfg", "star_3.png"], "takes its pictures from c.data, found star_3.png"),
    (["valid", "c.data", "flat.cfg", "-topk=-1"], "-topk needs a number from 1 on, found -1"),
    (["predict", "c.data", "flat.cfg", "no.png"], "no.png: cannot read the image"),
    (["valid", "c.data"], "classifier valid: expected DATA CFG WEIGHTS, found weights in the place of CFG")])
def test_bad_input_is_one_line(folder, cli, words, message):
    for name, text in FILES.items():
        Path(name).write_text(text)
    for cfg in ("tiny.cfg", "rnn.cfg"):
        load_network(cfg).save_weights(f"{cfg}.weights")
    weight = f"{words[2]}.weights" if words[2:] and Path(f"{words[2]}.weights").exists() else "c.weights"
    words = [*words[:3], weight, *words[3:]]
    code, _, err = cli("classifier", *words, "-device", "cpu")
    assert code == 1 and err.count("\n") == 1 and message in err


def test_values_that_are_no_numbers(folder):
    """They are said, not counted as one class more."""
    network = load_network("flat.cfg", "c.weights")
    network.layers[1].bias.data[0] = torch.inf
    with pytest.raises(DarknetError, match=r"flat.cfg:\d+: layer 1 \[convolutional\] gives inf in \d+ of \d+ values, "
                                           r"for the batch that starts with disc_0.png"):
        evaluate_classifier(network, ClassifierPictures.from_data("c.data", "valid"))


def test_half_a_weights_file(valid):
    load_network("flat.cfg", "c.weights").save_weights("half.weights", 1)
    code, _, err = valid("c.data", "flat.cfg", "half.weights")
    assert code == 0 and "warning: half.weights: holds the first 1 of 4 layers" in err


def test_other_networks_are_refused(folder):
    with raises(CfgError, Reason.WRONG_TASK):
        Path("tiny.cfg").write_text(TINY_CFG)
        load_network("tiny.cfg").save_weights("tiny.weights")
        Classifier("tiny.cfg", "tiny.weights")
    with raises(DataError, Reason.WRONG_COUNT, "the data set: has 2 classes, the network 6"):
        evaluate_classifier(load_network("flat.cfg"), ClassifierPictures(["a.png"], ["a", "b"], 2))


def test_loading_ahead():
    """In order, not too far ahead, and an error when it is that item's turn."""
    begun = []

    def load(number):
        begun.append(number)
        if number == 7:
            raise DataError("seven", Reason.CORRUPT)
        return number

    items = prefetch(load, range(20), 2, 3)
    assert [next(items) for _ in range(3)] == [0, 1, 2] and max(begun) <= 2 + 2 + 3 + 1
    assert [next(items) for _ in range(4)] == [3, 4, 5, 6]
    with pytest.raises(DataError, match="seven"):
        next(items)
    assert list(prefetch(load, [], None, 3)) == []
