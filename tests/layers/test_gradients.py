"""The backward pass of every layer kind against the mathematics, in float64."""
import pytest
import torch
from conftest import ROOT
from goldens.reading import find_goldens, golden_network, load_kit

GOLDENS = list(find_goldens([ROOT / "tests/goldens/kinds/train"]))
STEP = 1e-7         # so small that it crosses no kink
SCALE = 1e-3        # small enough that no delta reaches the bounds of [connected]
# Where a gradient is not the derivative, since C's GPU code has another one.
WEIGHTED = "backward_shortcut_multilayer_gpu() derives a normalised weight as if the other weights stood still"
OTHER = {
    "history": "nothing goes back to the predecessors (backward_history_layer_gpu)",
    "lrn": "backward_normalization_layer_gpu() is an approximation",
    "shortcut_per_channel_relu": WEIGHTED, "shortcut_per_channel_softmax": WEIGHTED,
    "shortcut_per_feature_relu": WEIGHTED, "shortcut_per_feature_softmax": WEIGHTED,
}


def slopes(path):
    """The change of a random sum of the first head's inputs along a random direction of all weights: by difference,
    and by the backward pass."""
    golden = load_kit(path).Golden(path)
    network = golden_network(golden, path, "cpu").double().train()
    draw = torch.Generator().manual_seed(1)
    x = torch.from_numpy(golden.train_input(0)).double()
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    directions = [torch.randn(p.shape, generator=draw, dtype=torch.float64) for p in parameters]

    def value():
        network.reset_state()
        torch.manual_seed(2)
        one = network.train_heads(x)[0].input           # [cost] would come after [softmax], which goes back as it is
        weights = torch.randn(one.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        return (one * weights).sum() * SCALE

    value().backward()
    ours = sum((p.grad * d).sum() for p, d in zip(parameters, directions, strict=True) if p.grad is not None)
    ends = []
    with torch.no_grad():
        for step in (STEP, -2 * STEP):
            for parameter, direction in zip(parameters, directions, strict=True):
                parameter.add_(direction, alpha=step)
            ends.append(value())
    return float(ours), float((ends[0] - ends[1]) / (2 * STEP))


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
def test_slope(path):
    ours, difference = slopes(path)
    close = abs(ours - difference) <= 1e-5 * max(abs(difference), SCALE)
    assert close != (path.stem in OTHER), (ours, difference)
