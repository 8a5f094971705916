"""The update of the weights, against C's formulas as its GPU code states them."""
import numpy as np
import pytest
import torch

from darknet_py import DarknetError, load_network, parse_cfg
from darknet_py.training import filter_deformation as deform
from darknet_py.training.optimizer import Optimizer, reject_similar_filters

NET = "[net]\nwidth=4\nheight=4\nchannels=32\nmax_batches=10\nburn_in=2\nmomentum=.9\ndecay=.01\n"
CONV = "[convolutional]\nfilters=4\nsize=3\npad=1\nactivation=leaky\n"
RATES = (.1, .2, .05)
BATCH = 8


def build(net="", *sections):
    torch.manual_seed(0)
    return load_network(parse_cfg(NET + net + "\n" + "\n".join(sections), "test.cfg"))


def gradients(network, steps=3):
    generator = torch.Generator().manual_seed(1)
    return [{name: torch.randn(p.shape, generator=generator) * 3 for name, p in network.named_parameters()}
            for _ in range(steps)]


def run(network, given, optimizer=None, start=1):
    optimizer = optimizer or Optimizer(network)
    for iteration, (rate, grads) in enumerate(zip(RATES, given, strict=False), start):
        for name, parameter in network.named_parameters():
            parameter.grad = grads[name].clone()
        optimizer.step(rate, BATCH, iteration)
        assert all(parameter.grad is None for parameter in network.parameters())
    return {name: p.detach().numpy().copy() for name, p in network.named_parameters()}


def centralise(u):
    return u - u.reshape(len(u), -1).mean(1).reshape(-1, 1, 1, 1)


def sgd(w, given, decay=.01, momentum=.9, factor=1., bound=0., clip=0., before=lambda u: u, reverse=0.,
        after=lambda w: w):
    """C's own order of things; ``weight_updates`` are minus the gradients."""
    u = np.zeros_like(w)
    for rate, g in zip(RATES, given, strict=True):
        u = before(u - g)
        if bound:
            u = u.clip(-bound, bound)
        if reverse:
            kept, u = u, np.where(u < 0, -1, 1) * (np.abs(u) * 10 + 1) ** reverse
        u = u - decay * BATCH * w
        w = after(w + rate * factor / BATCH * u)
        u = momentum * (kept if reverse else u)
        w = w.clip(-clip, clip) if clip else w
    return w


def adam(w, given, decay=.01, beta1=.9, beta2=.999, eps=1e-6):
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t, (rate, g) in enumerate(zip(RATES, given, strict=True), 1):
        d = -g - decay * BATCH * w
        m, v = beta1 * m + (1 - beta1) * d, beta2 * v + (1 - beta2) * d * d
        w = w + rate * (m / (1 - beta1 ** t)) / (np.sqrt(v / (1 - beta2 ** t)) + eps)
    return w


def posed(kind, **options):
    def gather(u):
        return deform.gather(torch.from_numpy(u), kind).numpy()

    def spread(w):
        return deform.spread(torch.from_numpy(w), kind).numpy()

    return (f"{CONV}{kind}=1\n", "0.weight", lambda w, g: sgd(w, g, before=gather, after=spread))


@pytest.mark.parametrize("section, name, expected", [
    (CONV, "0.weight", sgd),
    (CONV, "0.bias", lambda w, g: sgd(w, g, decay=0)),
    (CONV + "batch_normalize=1\n", "0.norm.weight", lambda w, g: sgd(w, g, decay=0)),
    (CONV + "batch_normalize=1\n", "0.norm.bias", lambda w, g: sgd(w, g, decay=0)),
    (CONV + "learning_rate=.5\n", "0.weight", lambda w, g: sgd(w, g, factor=.5)),
    (CONV + "learning_rate=0\n", "0.weight", lambda w, g: w),
    (CONV + "clip=.2\n", "0.weight", lambda w, g: sgd(w, g, clip=.2)),
    (CONV + "clip=.01\n", "0.bias", lambda w, g: sgd(w, g, decay=0)),
    (CONV + "batch_normalize=1\ngrad_centr=1\n", "0.weight", lambda w, g: sgd(w, g, before=centralise)),
    (CONV + "grad_centr=1\n", "0.weight", sgd),
    (CONV + "reverse=.5\n", "0.weight", lambda w, g: sgd(w, g, reverse=.5)),
    (CONV + "reverse=.5\nlearning_rate=.5\n", "0.weight", lambda w, g: sgd(w, g, reverse=.5, factor=.5)),
    (CONV + "reverse=.5\n", "0.bias", lambda w, g: sgd(w, g, decay=0)),
    posed("sway"), posed("rotate"), posed("stretch"), posed("stretch_sway"),
    ("[connected]\noutput=3\n", "0.weight", sgd),
    ("[connected]\noutput=3\n", "0.bias", lambda w, g: sgd(w, g, decay=0)),
    ("[local]\nfilters=2\nsize=3\npad=1\n", "0.weight", sgd),
    ("[local]\nfilters=2\nsize=3\npad=1\n", "0.bias", lambda w, g: sgd(w, g, decay=0)),
    ("[implicit]\nfilters=3\nclip=.1\n", "0.weight", lambda w, g: sgd(w, g, clip=.1)),
    ("[batchnorm]\n", "0.norm.weight", lambda w, g: sgd(w, g, decay=0)),
    ("[empty]\n[shortcut]\nfrom=-1\nweights_type=per_channel\n", "1.weight", lambda w, g: sgd(w, g, decay=0, bound=1)),
    ("[crnn]\nhidden=4\noutput=4\npad=1\n", "0.self_layer.weight", sgd),
])
def test_sgd(section, name, expected):
    network = build("", section)
    before = {name: p.detach().numpy().copy() for name, p in network.named_parameters()}
    given, name = gradients(network), f"layers.{name}"
    after = run(network, given)
    np.testing.assert_allclose(after[name], expected(before[name], [g[name].numpy() for g in given]), atol=2e-6)


def test_reversed_updates_of_no_gradient_are_steps_up():
    """The sign of 0 is 1, as in mult_inverse_array_kernel."""
    network = build("", CONV + "reverse=.5\n")
    weight = network.layers[0].weight.detach()
    expected = weight + RATES[0] / BATCH * (1 - .01 * BATCH * weight)
    run(network, [{name: torch.zeros_like(p) for name, p in network.named_parameters()}])
    torch.testing.assert_close(weight, expected)


@pytest.mark.parametrize("section, name, expected", [
    (CONV, "0.weight", adam),
    (CONV, "0.bias", adam),
    (CONV + "batch_normalize=1\ngrad_centr=1\n", "0.weight",
     lambda w, g: adam(w, [centralise(one) for one in g])),
    (CONV + "reverse=.5\n", "0.weight", adam),
])
def test_adam(section, name, expected):
    network = build("adam=1\n", section)
    before = {name: p.detach().numpy().copy() for name, p in network.named_parameters()}
    given, name = gradients(network), f"layers.{name}"
    np.testing.assert_allclose(run(network, given)[name],
                               expected(before[name], [g[name].numpy() for g in given]), atol=2e-6)


def test_adam_counts_iterations():
    """A run that goes on without its memory corrects no bias, as C (l.t = get_current_batch)."""
    network = build("adam=1\n", CONV)
    before = network.layers[0].bias.detach().clone()
    grads = gradients(network, 1)
    run(network, grads, start=1000)
    g = grads[0]["layers.0.bias"]
    step = .1 * (.1 * g / (1 - .9 ** 1000)) / ((.001 * g * g / (1 - .999 ** 1000)).sqrt() + 1e-6)
    torch.testing.assert_close(network.layers[0].bias.detach(), before - step)


@pytest.mark.parametrize("sections, moving", [
    ((CONV + "dont_update=1\n",), {2: True, 1: False}),
    ((CONV + "burnin_update=2\n",), {3: False, 4: True}),
    ((CONV + "train_only_bn=1\n",), {1: False, 100: False}),
    ((CONV, CONV + "train_only_bn=1\n"), {1: False, 100: False}),
    ((CONV + "sway=1\n",), {1: True, 6: True}),
])
def test_when_weights_move(sections, moving):
    for iteration, expected in moving.items():
        network = build("", *sections)
        before = network.layers[0].weight.detach().clone()
        run(network, gradients(network, 1), start=iteration)
        assert (not torch.equal(before, network.layers[0].weight)) == expected


def test_only_statistics_change_up_to_the_last_layer_that_asks_for_it():
    frozen = CONV + "train_only_bn=1\n"
    network = build("", frozen, CONV, frozen, CONV)
    before = [layer.weight.detach().clone() for layer in network.layers]
    run(network, gradients(network, 1))
    same = [torch.equal(old, layer.weight) for old, layer in zip(before, network.layers, strict=True)]
    assert same == [True, True, True, False]


def test_deformation_ends_at_half_of_the_run():
    network = build("", CONV + "rotate=1\n")
    quarters = network.layers[0].weight.detach().view(4, -1, 3, 3)
    run(network, gradients(network, 1), start=5)
    torch.testing.assert_close(quarters[1], quarters[0].rot90(-1, (1, 2)))
    run(network, gradients(network, 1), start=6)
    assert not torch.allclose(quarters[1], quarters[0].rot90(-1, (1, 2)))


def test_deformation_needs_quarters():
    with pytest.raises(DarknetError, match="sway=1 needs a number of kernels that 4 divides, found 1 x 3"):
        Optimizer(load_network(parse_cfg("[net]\nwidth=4\nheight=4\nchannels=3\n[convolutional]\nsize=3\nsway=1\n")))


@pytest.mark.parametrize("kind", ["rotate", "sway", "stretch", "stretch_sway"])
@pytest.mark.parametrize("size", [3, 5])
def test_poses(kind, size):
    """A kernel of ones stays within what leaves the window; a rotation goes back exactly."""
    there, back = (deform.poses(kind, size, 15, reverse) for reverse in (False, True))
    assert there.shape == back.shape == (deform.stages(kind), size ** 2, size ** 2)
    np.testing.assert_array_equal(there[0], np.eye(size ** 2))
    if kind == "rotate":
        np.testing.assert_array_equal(there @ back, np.broadcast_to(np.eye(size ** 2), there.shape))
    if kind == "sway":
        np.testing.assert_allclose(there.sum((1, 2)), size ** 2, rtol=1e-5)


def test_nan_is_fixed_if_asked():
    for asked in (0, 1):
        network = build(f"try_fix_nan={asked}\n", CONV)
        weight = network.layers[0].weight
        with torch.no_grad():
            weight.view(-1)[3] = float("nan")
        grads = gradients(network, 1)
        for at, value in ((3, 0.), (5, "inf"), (6, "-inf"), (7, "nan")):
            grads[0]["layers.0.weight"].view(-1)[at] = float(value)
        before = weight.detach().clone()
        run(network, grads)
        assert bool(weight.isfinite().all()) == bool(asked)
        if asked:
            expected = torch.cat([torch.tensor([1 / (3 + 1)]), before.view(-1)[5:8]]) * (1 - .1 * .01)
            torch.testing.assert_close(weight.detach().view(-1)[[3, 5, 6, 7]], expected)


@pytest.mark.parametrize("net", ["", "adam=1\n"])
def test_state(net):
    """Three steps, or one, then two more by another optimiser with its state: the same weights, bit by bit."""
    sections = (CONV + "batch_normalize=1\n", CONV + "grad_centr=1\n")
    network, again = build(net, *sections), build(net, *sections)
    given = gradients(network)
    whole = run(network, given)
    first = Optimizer(again)
    for name, parameter in again.named_parameters():
        parameter.grad = given[0][name].clone()
    first.step(RATES[0], BATCH, 1)
    state = first.state_dict()
    second = Optimizer(again)
    second.load_state_dict(state)
    for iteration in (2, 3):
        for name, parameter in again.named_parameters():
            parameter.grad = given[iteration - 1][name].clone()
        second.step(RATES[iteration - 1], BATCH, iteration)
    for name, parameter in again.named_parameters():
        np.testing.assert_array_equal(whole[name], parameter.detach().numpy())


def test_state_of_another_network():
    network = build("", CONV)
    with pytest.raises(DarknetError, match=r"layers.0.weight.momentum_buffer of \(2,\)"):
        Optimizer(network).load_state_dict({"layers.0.weight.momentum_buffer": torch.zeros(2)})
    with pytest.raises(DarknetError, match="no such tensor"):
        Optimizer(network).load_state_dict({"layers.9.weight.momentum_buffer": torch.zeros(2)})


YOLO = "[convolutional]\nfilters=6\nsize=1\nactivation=linear\n[yolo]\nmask=0\nanchors=1,1\nclasses=1\n"


def test_similar_filters_are_drawn_anew():
    """One of the closest pair, of layers with an activation that are neither first nor just before a [yolo]."""
    conv = "[convolutional]\nbatch_normalize=1\nfilters=4\nsize=3\npad=1\nactivation="
    network = build("weights_reject_freq=2\n", *[conv + kind + "\n" for kind in ("leaky", "leaky", "linear", "leaky")],
                    conv + "leaky\n", YOLO)
    with torch.no_grad():
        for layer in network.layers[:5]:
            layer.weight[3] = layer.weight[1] * 2 + .001
            layer.norm.weight.fill_(5)
            layer.norm.bias.fill_(3)
    assert reject_similar_filters(network, 0, threshold=1.1) == []
    run(network, [{name: torch.zeros_like(p) for name, p in network.named_parameters()}], start=1)
    assert [int((layer.norm.weight == 1).sum()) for layer in network.layers[:5]] == [0] * 5
    before = [layer.weight.detach().clone() for layer in network.layers[:5]]
    assert reject_similar_filters(network, 2) == [(1, 1)]
    drawn = network.layers[1].weight.detach()[1] / (2 / (4 * 3 * 3)) ** .5
    assert -1 <= drawn.min() < -.8 and .8 < drawn.max() <= 1
    for index, layer in enumerate(network.layers[:5]):
        drawn = index == 1
        assert layer.norm.weight.tolist() == [5, 1 if drawn else 5, 5, 5]
        assert layer.norm.bias.tolist() == [3, 0 if drawn else 3, 3, 3]
        np.testing.assert_array_equal((layer.weight != before[index]).flatten(1).any(1), [False, drawn, False, False])
    assert reject_similar_filters(network, 2, threshold=.99) == []


def test_all_layers_are_looked_at_for_similar_filters():
    """Also after one without, or with one filter alone."""
    network = build("", *[CONV] * 2, CONV.replace("filters=4", "filters=1"), *[CONV] * 4, YOLO)
    with torch.no_grad():
        for layer in network.layers[:6]:
            layer.weight.copy_(torch.eye(36)[:len(layer.weight), :layer.weight[0].numel()].view_as(layer.weight)
                               if layer.weight[0].numel() <= 36 else layer.weight)
        network.layers[3].weight[2] = network.layers[3].weight[0]
    assert reject_similar_filters(network, 0) == [(3, 0)]
