"""Weights that were trained for another number of classes: the error names it."""
from __future__ import annotations

import pytest
from conftest import raises
from every_kind import floats, header, network

from darknet_py.errors import Reason, WeightsError
from darknet_py.model.network import Network

HEADS = """[net]
width=4
height=4
channels=2
[conv]
filters=5
[conv]
filters={filters}
[{kind}]
classes={classes}
num=2
anchors=1,2,3,4
{more}
"""


@pytest.mark.parametrize("kind, entries, more", [("yolo", 5, ""), ("yolo", 5, "mask=0,1"), ("Gaussian_yolo", 9, ""),
                                                 ("region", 5, "")])
@pytest.mark.parametrize("here, there", [(80, 4), (1, 80), (4, 5)])
def test_guess_of_the_classes(kind, entries, more, here, there, tmp_path):
    def make(classes: int) -> Network:
        return network(HEADS.format(kind=kind, classes=classes, filters=2 * (entries + classes), more=more))

    path = tmp_path / "x.weights"
    make(there).save_weights(path)
    with raises(WeightsError, Reason.INCOMPATIBLE) as caught:
        make(here).load_weights(path)
    assert str(caught.value).endswith(f"; this looks like the same network with classes={there} instead of {here}")


@pytest.mark.parametrize("numbers, rest, guess", [
    (87, b"", 1), (75, b"", None), (63, b"", None), (135, b"", 5), (136, b"", None), (135, b"xx", None)])
def test_only_classes_that_fit_are_guessed(numbers, rest, guess, tmp_path):
    """5 * 2 + 5 numbers before the head, and 2 * (5 + 1) a class and entry: 75 without classes, 123 with four."""
    path = tmp_path / "x.weights"
    path.write_bytes(header() + floats(numbers) + rest)
    with pytest.raises(WeightsError) as caught:
        network(HEADS.format(kind="yolo", classes=4, filters=18, more="")).load_weights(path)
    hint = "" if guess is None else f"; this looks like the same network with classes={guess} instead of 4"
    assert str(caught.value).partition("; this looks")[1:] == hint.partition("; this looks")[1:]


def test_guess_past_layers_without_weights(tmp_path):
    def make(classes: int) -> Network:
        head = HEADS.format(kind="yolo", classes=classes, filters=2 * (5 + classes), more="")
        return network(head.replace("[yolo]", "[dropout]\n[yolo]"))

    make(4).save_weights(tmp_path / "x")
    with raises(WeightsError, Reason.INCOMPATIBLE, r"with classes=4 instead of 20$"):
        make(20).load_weights(tmp_path / "x")


def test_no_classes_are_guessed_where_no_weights_belong_to_them(tmp_path):
    """Before the head is a [shortcut] with a weight for each layer that it adds up, not for each channel."""
    text = HEADS.format(kind="yolo", classes=4, filters=18, more="").replace(
        "[yolo]", "[conv]\nfilters=18\n[shortcut]\nfrom=-2\nweights_type=per_feature\n[yolo]")
    net = network(text)
    net.save_weights(tmp_path / "x")
    (tmp_path / "x").write_bytes((tmp_path / "x").read_bytes() + floats(1))
    with raises(WeightsError, Reason.INCOMPATIBLE, "1 are left over$"):
        net.load_weights(tmp_path / "x")


def test_guess_with_two_heads(tmp_path):
    def make(classes: int) -> Network:
        head = HEADS.format(kind="yolo", classes=classes, filters=2 * (5 + classes), more="")
        tail = head[head.index("[conv]"):]
        return network(head + "[route]\nlayers=0\n" + tail)

    make(4).save_weights(tmp_path / "x")
    with raises(WeightsError, Reason.INCOMPATIBLE, r"with classes=4 instead of 20$"):
        make(20).load_weights(tmp_path / "x")
