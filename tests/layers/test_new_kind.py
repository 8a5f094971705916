"""A layer kind and a loss that are added at run time, and taken through everything."""
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from conftest import TINY_CFG, raises
from torch import nn

from darknet_py import CfgError, CfgWarning, Detector, Reason, load_network, parse_cfg, train
from darknet_py.layers.base import KINDS, Blob, Layer, LayerOptions, layer
from darknet_py.layers.head import Head
from darknet_py.losses import LOSSES, differentiable, loss
from darknet_py.model.summary import layer_table
from darknet_py.training.step import accumulate


@dataclass(frozen=True)
class TonedOptions(LayerOptions):
    start: float = 1


class Toned(Layer):
    """Each channel times a weight of its own."""

    any_size = True

    def __init__(self, options, shapes, place):
        super().__init__(options, shapes, place)
        self.weight = self.parameter(self.shape.channels)

    def forward(self, x):
        return x * self.weight.view(-1, 1, 1)

    def blobs(self):
        yield Blob(self.weight)

    def reset_parameters(self):
        nn.init.constant_(self.weight, self.options.start)


class Square(Head):
    """Its loss is its squares' sum."""

    def forward(self, x):
        return x.square()


@pytest.fixture
def kinds():
    layer("toned", "tone", options=TonedOptions)(Toned)
    layer("square")(Square)

    @loss("square")
    @differentiable
    def square_loss(head, output, truth, context):
        return output.sum()

    yield
    for kind in ("toned", "tone", "square"):
        KINDS.pop(kind)
    LOSSES.pop("square")


CFG = TINY_CFG.replace("[convolutional]\nfilters=14", "[tone]\nstart=.5\n\n[convolutional]\nfilters=14")


def test_a_new_kind(tiny, kinds, cli):
    Path("new.cfg").write_text(CFG)
    network = load_network("new.cfg")
    assert isinstance(network.layers[1], Toned) and network.layers[1].weight.tolist() == [.5] * 8
    first, second = network.outputs_of(torch.rand(2, 3, 32, 32), [0, 1])
    assert torch.equal(second, .5 * first)
    assert any(line.split()[:2] == ["1", "toned"] for line in layer_table(network))
    run = train("tiny.data", "new.cfg", device="cpu", seed=3, workers=0, charts=None, report=False,
                stop_after=6)
    weight = run.network.layers[1].weight
    assert not torch.equal(weight, torch.full((8,), .5))
    again = load_network("new.cfg", "backup/new_final.weights")
    assert torch.equal(again.layers[1].weight, weight)
    assert len(Detector("new.cfg", "backup/new_final.weights", device="cpu")(["0.png", "1.png"])) == 2
    code, out, _ = cli("info", "new.cfg", "backup/new_final.weights")
    assert code == 0 and "toned" in out
    code, _, error = cli("convert", "new.cfg", "backup/new_final.weights", "new.onnx")
    assert code == 1 and "new.cfg:24: [tone] cannot be said in ONNX" in error and not Path("new.onnx").exists()
    assert cli("convert", "new.cfg", "backup/new_final.weights", "new.torchscript")[0] == 0


def test_its_options_are_checked(kinds):
    with pytest.warns(CfgWarning, match=r"\[tone\] has no option begin="):
        parse = parse_cfg(CFG.replace("start", "begin"))
        load_network(parse)
    with raises(CfgError, Reason.BAD_VALUE, "start"):
        load_network(parse_cfg(CFG.replace("start=.5", "start=half")))


def test_a_loss_that_is_a_differentiable_function(kinds):
    """Gradients are those of autograd."""
    network = load_network(parse_cfg(TINY_CFG[:TINY_CFG.index("[yolo]")] + "[square]\n")).train()
    x = torch.rand(2, 3, 32, 32)
    outcome = accumulate(network, x, torch.zeros(2, 1))
    ours = [parameter.grad.clone() for parameter in network.parameters()]
    network.zero_grad()
    value = network.output_of(x, 1).square().sum()
    value.backward()
    torch.testing.assert_close(outcome.loss, value.detach())
    for mine, parameter in zip(ours, network.parameters(), strict=True):
        torch.testing.assert_close(mine, parameter.grad, rtol=1e-4, atol=1e-5)
