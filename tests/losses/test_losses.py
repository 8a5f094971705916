"""The heads' deltas and losses against C's own, over combinations of options, and what only the GPU code does."""
from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import torch
from conftest import ROOT

from darknet_py.cfg.language import parse_cfg
from darknet_py.data.targets import Truth
from darknet_py.layers import TrainingContext
from darknet_py.losses import LOSSES, HeadLoss
from darknet_py.losses.base import later_wins
from darknet_py.model.network import Network

FOLDER = ROOT / "tests/goldens/heads"
KINDS = ("region", "detection", "softmax", "cost", "contrastive", "contrastive_yolo")
TREE = "a -1\nb -1\nc -1\nd 0\ne 0\nf 1\ng 1\nh 1\ni 5\nj 5\n"     # the tree of the goldens


def golden_cases():
    for kind in KINDS:
        arrays = np.load(FOLDER / f"{kind}.npz")
        for number, case in enumerate(json.loads(str(arrays["meta"]))["cases"]):
            for name in ("x", "delta", "truth", "assigned"):
                if f"{number}_{name}" in arrays:
                    case[name] = torch.from_numpy(arrays[f"{number}_{name}"])
            if "rows" in case:
                case["truth"] = Truth.stack([np.array(rows, np.float32).reshape(-1, 5) for rows in case["rows"]])
            yield pytest.param(case, id=f"{kind}-{number}")


def build(cfg: str, folder, numbers=()):
    """The network of a head alone, with the files that it names."""
    (folder / "classes.tree").write_text(TREE)
    (folder / "classes.map").write_text("".join(f"{number}\n" for number in numbers))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Network(parse_cfg(cfg, folder / "head.cfg"))


def run(network, x, truth, assigned=None, **context) -> HeadLoss:
    head, context = network.layers[0], TrainingContext(network.options, x.shape[3], x.shape[2], **context)
    if assigned is not None:
        head.yolo, context.assigned[0] = 0, (assigned[0].long(), assigned[1].long())
    return LOSSES[head.kind](head, x, head(x), truth, context)


@pytest.mark.parametrize("case", list(golden_cases()))
def test_delta_and_loss_are_those_of_c(case, tmp_path):
    network = build(case["cfg"], tmp_path, case.get("map", ()))
    found = run(network, case["x"], case.get("truth"), case.get("assigned"), **case["moment"])
    assert found.delta.shape == case["x"].shape
    tolerance = 2e-6 if "contrastive" not in case["cfg"] else 1e-4      # C adds up many exponentials in float
    torch.testing.assert_close(found.delta, case["delta"], rtol=0, atol=tolerance * float(case["delta"].abs().max()))
    assert float(found.loss) == pytest.approx(case["loss"], rel=1e-5)
    assert all(np.isfinite(float(figure)) for figure in found.figures.values())


def test_goldens_cover_the_options():
    text = "".join(case.values[0]["cfg"] for case in golden_cases())
    for option in ("classfix=-1", "classfix=1", "classfix=2", "rescore=1", "bias_match=1", "focal_loss=1", "coords=6",
                   "tree=", "map=", "forced=1", "sqrt=1", "groups=2", "noloss=1", "temperature=0.5", "type=masked",
                   "type=smooth", "contrastive_neg_max=10", "time_steps=2", "label_smooth_eps=0.1", "max_delta=0.02"):
        assert option in text, option


REGION = "[net]\nchannels=14\nheight=3\nwidth=3\n[region]\nnum=2\nclasses=2\nanchors=1,1,2,2\nsoftmax=1\n"
DETECTION = "[net]\nchannels=28\nheight=1\nwidth=1\n[detection]\nside=2\nnum=1\nclasses=2\ncoords=4\nrandom=1\n"


@pytest.mark.parametrize("cfg", [REGION, DETECTION, DETECTION.replace("num=1", "num=2").replace("28", "48")])
@pytest.mark.parametrize("rows", [[], [[0, 1.2, -.1, .2, .2]], [[0, .5, .5, 0, .2]], [[1, .5, .5, 5, 7]]])
def test_odd_truths_leave_numbers_finite(cfg, rows, tmp_path):
    network = build(cfg, tmp_path)
    x = torch.randn(1, *network.input_shape, generator=torch.Generator().manual_seed(0))
    found = run(network, x, Truth.stack([np.array(rows, np.float32).reshape(-1, 5)]))
    assert found.delta.isfinite().all() and found.loss.isfinite()


def test_region_of_an_object_that_no_anchor_overlaps_stays_in_its_image(tmp_path):
    network = build(REGION.replace("anchors=1,1,2,2", "anchors=1e-30,1e-30,1e-30,1e-30"), tmp_path)
    truth = Truth.stack([np.zeros((0, 5), np.float32), np.array([[1, .5, .5, .3, .3]], np.float32)])
    found = run(network, torch.zeros(2, 14, 3, 3), truth, seen=20_000)
    assert not found.delta[0, :4].any() and found.delta[1, 2:4, 1, 1].all()


@pytest.mark.parametrize("numbers, labels", [((1,), (1, -1, -1)), ((1, 0, 1), (1, 0, -1))])
def test_labels_of_region_go_through_the_map(numbers, labels, tmp_path):
    """Those that it or the head does not have are skipped."""
    x = torch.randn(1, 14, 3, 3, generator=torch.Generator().manual_seed(0))
    rows = [[.2 + .3 * number, .4, .3, .3] for number in range(3)]
    found, expected = (
        run(build(cfg, tmp_path, numbers), x, Truth.stack([np.column_stack([given, rows]).astype(np.float32)])).delta
        for cfg, given in ((REGION + "map=classes.map\n", range(3)), (REGION, labels)))
    assert torch.equal(found, expected)


def test_a_class_without_ancestors_trains_its_own_siblings_alone(tmp_path):
    network = build("[net]\nchannels=15\nheight=1\nwidth=1\n[region]\nnum=1\nclasses=10\nanchors=1,1\nsoftmax=1\n"
                    "tree=classes.tree\n", tmp_path)
    x = torch.randn(1, 15, 1, 1, generator=torch.Generator().manual_seed(0))
    delta = run(network, x, Truth.stack([np.array([[1, .5, .5, .9, .9]], np.float32)])).delta.flatten()
    torch.testing.assert_close(delta[5:8], torch.tensor([0., 1, 0]) - x[0, 5:8, 0, 0].softmax(0))
    assert not delta[8:].any()


def test_random_box_of_detection_is_drawn_from_the_number_of_images(tmp_path):
    network = build(DETECTION.replace("num=1", "num=2").replace("28", "48"), tmp_path)
    x = torch.randn(1, 48, 1, 1, generator=torch.Generator().manual_seed(0))
    truth = Truth.stack([np.array([[0, .2, .2, .3, .3], [1, .8, .2, .3, .3], [1, .8, .8, .3, .3]], np.float32)])
    deltas = [run(network, x, truth, seen=seen).delta for seen in (*range(8), 64_000, 64_001)]
    assert torch.equal(deltas[3], run(network, x, truth, seen=3).delta)
    assert len({tuple(delta.flatten().tolist()) for delta in deltas[:8]}) > 1
    assert torch.equal(deltas[8], deltas[9])        # by overlap from here on


def test_masked_truths_down_a_tree_have_no_delta(tmp_path):
    network = build("[net]\nchannels=10\nheight=1\nwidth=1\n[softmax]\ntree=classes.tree\n", tmp_path)
    x = torch.randn(2, 10, 1, 1, generator=torch.Generator().manual_seed(0))
    truth = torch.full((2, 10), -1234.)
    truth[0, :3] = torch.tensor([1., 0, 0])
    found = run(network, x, truth)
    output = network(x)[0].flatten(1)
    torch.testing.assert_close(found.delta.flatten(1)[0, :3], truth[0, :3] - output[0, :3])
    assert not found.delta[0, 3:].any() and not found.delta[1].any()
    assert float(found.loss) == pytest.approx(-float(output[0, 0].log()))


def test_a_pair_that_competes_with_none_is_drawn_together(tmp_path):
    """C's CPU code stops such a pair with its probability of .9999; the GPU code leaves 0 there."""
    network = build("[net]\nchannels=3\nheight=1\nwidth=2\n[contrastive]\n", tmp_path)
    x = torch.randn(1, 3, 1, 2, generator=torch.Generator().manual_seed(0))
    assigned = torch.tensor([[5, 5], [1, 1]]).view(2, 1, 1, 1, 2)
    delta = run(network, x, None, assigned).delta
    cosine = [torch.cosine_similarity(*y[0, :, 0].T, dim=0) for y in (x, x + .01 * delta)]
    assert cosine[1] > cosine[0]
    one, two = x[0, :, 0].T
    torch.testing.assert_close(delta[0, :, 0, 0], (two - cosine[0] * one) / one.norm())    # of a probability of 0
    assert not run(network, x, None, -torch.ones_like(assigned)).delta.any()


def test_images_of_different_time_steps_are_not_compared(tmp_path):
    """Six images of two steps, of other labels each, are twice three of one."""
    cfg = "[net]\nchannels=4\nheight=1\nwidth=1\n{}[contrastive]\nclasses=4\n"
    x = torch.randn(6, 4, 1, 1, generator=torch.Generator().manual_seed(0))
    truth = torch.eye(4)[[0, 1, 0, 2, 3, 2]]
    both = run(build(cfg.format("time_steps=2\n"), tmp_path), x, truth).delta
    single = build(cfg.format(""), tmp_path)
    apart = [run(single, x[at], truth[at]).delta for at in (slice(3), slice(3, 6))]
    torch.testing.assert_close(both, torch.cat(apart))
    assert not torch.allclose(both, run(single, x, truth).delta)


def test_accuracy_of_embeddings(tmp_path):
    """Vectors at angles: of the first four, which have a partner, the third alone is nearer to another label. The last
    has none, and does not count."""
    angle = torch.tensor([0., 10, 30, 90, 180]).deg2rad()
    x = torch.stack([angle.cos(), angle.sin()], 1)[..., None, None]
    network = build("[net]\nchannels=2\nheight=1\nwidth=1\n[contrastive]\nclasses=3\n", tmp_path)
    assert run(network, x, torch.eye(3)[[0, 0, 1, 1, 2]]).figures["accuracy"] == .75
    assert run(network, x[2:], torch.eye(3)).figures["accuracy"] == 0


@pytest.mark.parametrize("adversarial, labels", [(False, [0, 0, 1, 1]), (True, [0, 1, 0, 1])])
def test_without_a_class_the_two_views_of_a_picture_share_a_label(adversarial, labels, tmp_path):
    """In an adversarial step, every second one."""
    network = build("[net]\nchannels=3\nheight=1\nwidth=1\n[contrastive]\nclasses=2\n", tmp_path)
    x = torch.randn(4, 3, 1, 1, generator=torch.Generator().manual_seed(0))
    given = run(network, x, torch.eye(2)[labels]).delta
    assert given.any() and torch.equal(run(network, x, torch.zeros(4, 2), adversarial=adversarial).delta, given)


def test_embeddings_of_length_0_have_no_delta(tmp_path):
    network = build("[net]\nchannels=3\nheight=1\nwidth=1\n[contrastive]\nclasses=2\n", tmp_path)
    x = torch.randn(4, 3, 1, 1, generator=torch.Generator().manual_seed(0))
    x[1] = 0
    delta = run(network, x, torch.eye(2)[[0, 0, 0, 1]]).delta.flatten(1)
    assert delta.isfinite().all() and delta.any(1).tolist() == [True, False, True, False]


def test_logistic_is_the_gradient_of_cross_entropy(tmp_path):
    network = build("[net]\nchannels=5\nheight=1\nwidth=1\n[logistic]\n", tmp_path)
    x = torch.randn(3, 5, 1, 1, generator=torch.Generator().manual_seed(0)).requires_grad_()
    truth = torch.randint(2, (3, 5)).float()
    expected = torch.nn.functional.binary_cross_entropy_with_logits(x, truth.view_as(x), reduction="sum")
    expected.backward()
    found = run(network, x.detach(), truth)
    assert float(found.loss) == pytest.approx(float(expected.detach()), rel=1e-5)
    torch.testing.assert_close(found.delta, -x.grad)


def plain_iseg(output: np.ndarray, truth: np.ndarray, classes: int) -> np.ndarray:
    """The deltas of one image, object by object: output (channels, pixels), truth (M, 1 + pixels)."""
    delta, objects = -output, [row for row in truth if row[0] >= 0]
    delta[classes:] *= .1
    for label, *mask in objects:
        for pixel in np.flatnonzero(mask):
            delta[int(label), pixel] = mask[pixel] - output[int(label), pixel]
    means = [output[classes:, np.flatnonzero(row[1:])].mean(1) for row in objects]
    for mine, (_, *mask) in enumerate(objects):
        for pixel in np.flatnonzero(mask):
            for other, mean in enumerate(means):
                toward = np.where(mean - output[classes:, pixel] < 0, -.1, .1)
                delta[classes:, pixel] += toward if other == mine else -toward
    delta[classes:] *= .01
    return delta


def test_iseg(tmp_path):
    network = build("[net]\nchannels=5\nheight=2\nwidth=3\n[iseg]\nclasses=2\nids=3\n", tmp_path)
    generator = np.random.default_rng(0)
    x = torch.from_numpy(generator.normal(size=(3, 5, 2, 3)).astype(np.float32))
    truth = np.full((3, 4, 7), -1, np.float32)
    for image, count in enumerate((3, 1, 0)):
        truth[image, :count, 0] = generator.integers(2, size=count)
        truth[image, :count, 1:] = generator.random((count, 6)) < .6
        truth[image, :count, 1] = 1
    truth[1, 0, 2:] = 0                                     # an object of one pixel
    found = run(network, x, torch.from_numpy(truth).flatten(1))
    expected = np.stack([plain_iseg(*pair, 2) for pair in zip(network(x)[0].flatten(2).numpy(), truth, strict=True)])
    np.testing.assert_allclose(found.delta.flatten(2).numpy(), expected, atol=1e-6)
    assert float(found.loss) == pytest.approx(float((expected ** 2).sum()), rel=1e-5)


def test_the_last_of_equal_keys_writes():
    unique, last = later_wins(torch.tensor([5, 2, 5, 9, 2]))
    assert (unique.tolist(), last.tolist()) == ([2, 5, 9], [4, 2, 3])
