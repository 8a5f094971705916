"""Losses of [yolo] and [Gaussian_yolo] against C's deltas, and what must not change them.

A golden in goldens/losses holds a head's cfg, values and truths, and what forward_yolo_layer (compiled at -O2 without
-Ofast) made of them: l.delta, *l.cost, the figures that it prints, the rolling statistics, and l.labels and
l.class_ids. Each turns on other options; the names say which.
"""
from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from torch import Tensor

from darknet_py import load_network, parse_cfg
from darknet_py.data.targets import Truth
from darknet_py.layers import TrainingContext
from darknet_py.losses import LOSSES, HeadLoss
from darknet_py.losses import anchor_matching as matching
from darknet_py.losses.yolo import reject_outliers
from darknet_py.ops.boxes import iou

GOLDENS = sorted((ROOT / "tests/goldens/losses").glob("*.npz"))
HEAD = """
[net]
width=4
height=4
channels=14
[yolo]
mask=0,1
num=2
classes=2
anchors=20,20,60,60
"""


def as_truth(rows: np.ndarray | list) -> Truth:
    """(N, M, 5 or 6) x, y, w, h, class, track"""
    table = torch.as_tensor(np.asarray(rows, np.float32))
    track = table[..., 5] if table.shape[-1] > 5 else torch.zeros_like(table[..., 0])
    return Truth(table[..., :4].contiguous(), table[..., 4].long(), track.long())


def run(cfg: str, x: Tensor, truth: Truth, size=(64, 64), folder="", **context) -> tuple[HeadLoss, TrainingContext]:
    network = load_network(parse_cfg(cfg, Path(folder) / "head.cfg" if folder else None)).to(x.device, x.dtype)
    head = network.layers[0]
    with torch.no_grad():
        state = TrainingContext(network.options, *size, **context)
        return LOSSES[head.kind](head, x, head(x), truth, state), state


def run_golden(path: Path, change=lambda x, truth: (x, truth)) -> tuple[HeadLoss, TrainingContext]:
    golden = np.load(path)
    x, truth = change(torch.from_numpy(golden["x"]).float(), as_truth(golden["truth"]))
    return run(str(golden["cfg"]), x, truth, golden["size"].tolist(), str(path.parent),
               iteration=int(golden["iteration"]), adversarial=bool(golden["adversarial"]),
               rolling=torch.from_numpy(golden["rolling"]).double())


def assert_same(ours: HeadLoss, theirs: HeadLoss, allowed: float = 1e-6) -> None:
    largest = theirs.delta.abs().max()
    torch.testing.assert_close(ours.delta / largest, theirs.delta / largest, atol=allowed, rtol=0, check_dtype=False,
                               check_device=False)
    torch.testing.assert_close(ours.loss, theirs.loss, rtol=max(allowed, 1e-5), atol=0, check_dtype=False,
                               check_device=False)


def check_golden(path: Path, loss: HeadLoss, context: TrainingContext) -> None:
    golden = np.load(path)
    delta = torch.from_numpy(golden["delta"])
    assert loss.delta.dtype == torch.float32 and not loss.delta.requires_grad
    assert_same(loss, HeadLoss(delta, torch.tensor(golden["cost"].item())), 1e-5)
    assert loss.scale == (.5 if "delta_normalizer=0.5" in str(golden["cfg"]) else 1)
    for name, value in (figure.split("=") for figure in golden["figures"].tolist()):
        assert loss.figures[name].item() == pytest.approx(float(value), rel=2e-5, abs=.006), name   # C prints %.2f
    torch.testing.assert_close(context.rolling.float(), torch.from_numpy(golden["rolling_after"]), rtol=1e-5, atol=1e-6)
    if "told" in golden:
        assert [int(loss.figures[name]) for name in ("boxes", "rewritten")] == golden["told"].tolist()
        tracks, labels = context.assigned[0]
        assert tracks.flatten().tolist() == golden["tracks"].tolist()
        assert labels.flatten().tolist() == golden["labels"].tolist()


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
def test_delta_and_loss_are_those_of_c(path):
    check_golden(path, *run_golden(path))


@pytest.mark.gpu
@pytest.mark.parametrize("where", ["cpu", "cuda"])
@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
def test_delta_and_loss_are_those_of_c_on_a_gpu(path, where):
    loss, context = run_golden(path, lambda x, truth: (x.cuda(), truth.to(where)))
    context.assigned = {index: (a.cpu(), b.cpu()) for index, (a, b) in context.assigned.items()}
    check_golden(path, loss._replace(delta=loss.delta.cpu(), loss=loss.loss.cpu()), context)


def padded(x: Tensor, truth: Truth, rows: int = 7) -> tuple[Tensor, Truth]:
    n = len(x)
    return x, Truth(torch.cat([truth.boxes, torch.zeros(n, rows, 4)], 1),
                    torch.cat([truth.labels, torch.full((n, rows), -1)], 1),
                    torch.cat([truth.tracks, torch.zeros(n, rows, dtype=torch.long)], 1))


def cut(x: Tensor, truth: Truth) -> tuple[Tensor, Truth]:
    most = int((truth.boxes[..., 0] != 0).sum(1).max())
    return x, Truth(*(part[:, :most] for part in truth))


def strided(x: Tensor, truth: Truth) -> tuple[Tensor, Truth]:
    return x.to(memory_format=torch.channels_last), Truth(*(part.transpose(0, 1).contiguous().transpose(0, 1)
                                                            for part in truth))


@pytest.mark.parametrize("change", [padded, cut, strided], ids=lambda change: change.__name__)
@pytest.mark.parametrize("path", GOLDENS[::3], ids=lambda path: path.stem)
def test_padding_and_strides_change_nothing(path, change):
    ours, theirs = run_golden(path, change)[0], run_golden(path)[0]
    assert ours.delta.is_contiguous()
    assert_same(ours, theirs)


@pytest.mark.parametrize("kind, channels", [("yolo", 14), ("Gaussian_yolo", 22)])
def test_the_grid_is_that_of_the_values(kind, channels):
    """Training with random=1 changes it."""
    cfg = HEAD.replace("14", str(channels)).replace("yolo", kind)
    x, truth = torch.randn(1, channels, 3, 6), as_truth([[[.9, .7, .3, .5, 1], [.3, .1, .3, .2, 0]]])
    wide = cfg.replace("width=4", "width=6").replace("height=4", "height=3")
    assert run(cfg, x, truth)[0].delta.equal(run(wide, x, truth)[0].delta)


@pytest.mark.parametrize("pairs", [1, 100, 200, 1 << 30])
def test_chunks_change_nothing(pairs):
    generator = torch.Generator().manual_seed(0)
    predicted, truth = torch.rand(4, 2, 3, 4, 5, generator=generator), torch.rand(2, 11, 4, generator=generator)
    truth[1, 5:] = truth[1, :6].clone()           # of equals the first one wins
    truth[0, 3] = 0
    expected = iou(predicted.permute(1, 2, 3, 4, 0)[..., None, :], truth[:, None, None, None]).max(-1)
    best, which = matching.best_overlap(predicted, truth, pairs=pairs)
    torch.testing.assert_close(best, expected.values)
    assert (which[best > 0] == expected.indices[best > 0]).all()
    assert matching.best_overlap(predicted, truth, False, pairs)[0].equal(best)


@pytest.mark.parametrize("path", [path for path in GOLDENS if "saturated" not in path.stem][1::3],
                         ids=lambda path: path.stem)
def test_precision(path):
    """In float64 the same within float32's rounding; float32 stays float32 whatever torch's default is. (But where a
    probability is 1 in float32 alone, C's way with several classes in one place depends on it.)"""
    single = run_golden(path)[0]
    double = run_golden(path, lambda x, truth: (x.double(), truth._replace(boxes=truth.boxes.double())))[0]
    assert double.delta.dtype == torch.float64
    assert_same(double, single, 2e-5)
    torch.set_default_dtype(torch.float64)
    try:
        again = run_golden(path, lambda x, truth: (x.float(), truth))[0]
    finally:
        torch.set_default_dtype(torch.float32)
    assert again.delta.dtype == torch.float32
    assert_same(again, single)


@pytest.mark.parametrize("percentage, threshold", [(51, .99), (49, 1.01)])
def test_the_threshold_of_bad_labels_follows_their_share(percentage, threshold):
    """One delta of 14 is above, and each stands for the 7 entries of its anchor: 50 %."""
    net = load_network(parse_cfg(HEAD.replace(
        "[yolo]", f"max_batches=100\nbadlabels_rejection_percentage={percentage}\n[yolo]"))).options
    context = TrainingContext(net, 64, 64, iteration=76, rolling=torch.tensor([4., 1, 0, 1], dtype=torch.float64))
    delta = torch.full((1, 1, 7, 1, 2), .5)
    delta[0, 0, 3, 0, 1] = -4
    reject_outliers(delta, context)
    assert delta.unique().tolist() == [0, .5] and delta[0, 0, 3, 0, 1] == 0
    assert context.rolling[3] == pytest.approx(threshold)


@pytest.mark.parametrize("iteration, mean, kept", [(50, 1, .5), (75, 1, .75), (75, .7, .5), (100, .5, .75),
                                                   (100, .3, .5)])
def test_deltas_below_a_rising_share_of_their_mean_are_dropped(iteration, mean, kept):
    """From equidistant_point to max_batches the share rises from 0 to 1.4; at 75 it is .7."""
    net = load_network(parse_cfg(HEAD.replace("[yolo]", "max_batches=100\nequidistant_point=50\n[yolo]"))).options
    delta = torch.full((1, 1, 7, 1, 2), .75)
    delta[0, 0, 3:5] = torch.tensor([.5, -.5])
    average = .99 * mean + .01 * float(delta.abs().mean())
    context = TrainingContext(net, 64, 64, iteration=iteration,
                              rolling=torch.tensor([4., mean, 0, 0], dtype=torch.float64))
    reject_outliers(delta, context)
    assert delta.abs()[delta != 0].min() == kept and (delta == .75).sum() == 10
    assert context.rolling.tolist() == pytest.approx([4, mean, 0, 0] if iteration == 50 else
                                                     [.99 * 4 + .01 * .75, average, 0, 0])


def test_delta_is_the_gradient_of_cross_entropy_and_squares():
    """With mse: of the squares by the head's output, and of the cross entropy by its input."""
    x = torch.randn(1, 14, 4, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64).requires_grad_()
    truth = as_truth([[[.4, .6, .9, .9, 1]]])
    delta = run(HEAD + "ignore_thresh=1\niou_normalizer=1\n", x.detach(), truth)[0].delta
    y = x.view(1, 2, 7, 4, 4)
    target = torch.zeros_like(y)
    target[0, 1, [4, 6], 2, 1] = 1
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(y, target, reduction="none")
    expected = -torch.autograd.grad(entropy[:, :, 4].sum() + entropy[0, 1, 5:, 2, 1].sum(), x)[0].view_as(y)
    box = truth.boxes[0, 0].double()
    output = torch.cat([y[0, 1, :2, 2, 1].sigmoid(), y[0, 1, 2:4, 2, 1]]).detach()
    goal = torch.stack([box[0] * 4 - 1, box[1] * 4 - 2, (box[2] * 64 / 60).log(), (box[3] * 64 / 60).log()])
    expected[0, 1, :4, 2, 1] = (2 - box[2] * box[3]) * (goal - output)
    torch.testing.assert_close(delta.view_as(y), expected)


# ------------------------------------------------------------------------------------- odd truths

@pytest.mark.parametrize("row", [[.5, .5, .2, .2, 2], [.5, .5, .2, .2, -1], [1.2, .5, .2, .2, 0], [.5, -.1, .2, .2, 0],
                                 [.5, .5, -.2, .2, 0], [math.nan, .5, .2, .2, 0], [.5, .5, .2, math.inf, 0]])
def test_unusable_truths_are_skipped_and_the_next_ones_count(row):
    x = torch.randn(1, 14, 4, 4, generator=torch.Generator().manual_seed(3))
    good = [.3, .3, .4, .4, 1]
    expected = run(HEAD, x, as_truth([[good]]))[0]
    assert run(HEAD, x, as_truth([[row, good]]))[0].delta.equal(expected.delta)
    ended = run(HEAD, x, as_truth([[[0, 0, 0, 0, 0], good]]))[0]
    assert ended.figures["count"] == 0 and not ended.delta.equal(expected.delta)


@pytest.mark.parametrize("kind, channels", [("yolo", 14), ("Gaussian_yolo", 22)])
@pytest.mark.parametrize("numbers, labels", [("1\n", (1, -1, -1)), ("1\n0\n1\n", (1, 0, -1))],
                         ids=["fewer than classes", "more"])
def test_labels_go_through_the_map(kind, channels, numbers, labels, tmp_path):
    """Those that it or the head does not have are skipped."""
    (tmp_path / "classes.map").write_text(numbers)
    cfg = HEAD.replace("14", str(channels)).replace("yolo", kind)
    x = torch.randn(1, channels, 4, 4, generator=torch.Generator().manual_seed(4))
    rows = [[.2 + .3 * number, .4, .3, .3] for number in range(3)]
    found = run(cfg + "map=classes.map\n", x, as_truth([[[*row, k] for k, row in enumerate(rows)]]), folder=tmp_path)[0]
    assert found.delta.equal(run(cfg, x, as_truth([[[*row, k] for k, row in zip(labels, rows, strict=True)]]))[0].delta)


@pytest.mark.parametrize("kind, channels, more", [
    ("yolo", 14, "truth_thresh=.3"), ("Gaussian_yolo", 22, "truth_thresh=.3"),
    ("Gaussian_yolo", 22, "objectness_smooth=1\nignore_thresh=.3")])
def test_predictions_are_assigned_to_the_truth_that_they_overlap(kind, channels, more):
    """Whichever comes first in the list."""
    cfg = HEAD.replace("14", str(channels)).replace("yolo", kind) + more + "\n"
    x = torch.randn(1, channels, 4, 4, generator=torch.Generator().manual_seed(0)) * .1
    rows = [[.3, .3, .35, .3, 0], [.8, .75, .3, .4, 1]]
    first, second = (run(cfg, x, as_truth([order]))[0].delta for order in (rows, rows[::-1]))
    assert first.equal(second)
    alone = run(cfg.replace("truth_thresh=.3", "").replace("objectness_smooth=1", ""), x, as_truth([rows]))[0].delta
    assert not first.view(2, -1, 16)[:, -2:].equal(alone.view(2, -1, 16)[:, -2:])       # classes of others than matches


def test_truths_beyond_max_are_not_looked_at():
    x, rows = torch.randn(1, 14, 4, 4), [[.1, .1, .2, .2, 0], [.6, .6, .2, .2, 1]]
    assert run(HEAD + "max=1\n", x, as_truth([rows]))[0].delta.equal(run(HEAD, x, as_truth([rows[:1]]))[0].delta)


def test_a_centre_on_the_border_counts_to_the_last_cell():
    loss, context = run(HEAD, torch.zeros(1, 14, 4, 4), as_truth([[[1, 1, .3, .3, 1, 9]]]))
    tracks, labels = context.assigned[0]
    assert (tracks >= 0).nonzero().tolist() == [[0, 0, 3, 3]] and tracks[0, 0, 3, 3] == 9 and labels[0, 0, 3, 3] == 1
    assert loss.delta.view(2, 7, 4, 4)[0, 0, 3, 3] == pytest.approx(.75 * (2 - .09) * .5)


@pytest.mark.parametrize("kind", ["mse", "iou", "giou", "diou", "ciou"])
def test_flat_truths_give_no_infinite_delta(kind):
    loss, _ = run(HEAD + f"iou_loss={kind}\n", torch.zeros(1, 14, 4, 4), as_truth([[[.5, .5, 0, .3, 1]]]))
    assert loss.delta.isfinite().all() and loss.loss.isfinite() and loss.figures["count"] == 1


@pytest.mark.parametrize("rows", [np.zeros((2, 0, 5)), np.zeros((2, 3, 5))])
def test_images_without_truths_learn_that_nothing_is_there(rows):
    loss, _ = run(HEAD + "truth_thresh=.5\niou_thresh=.2\n", torch.zeros(2, 14, 4, 4), as_truth(rows))
    delta = loss.delta.view(2, 2, 7, 4, 4)
    assert (delta[:, :, 4] == -.5).all() and delta.count_nonzero() == 2 * 2 * 16
    assert loss.loss == pytest.approx(.25 * 64) and loss.figures["iou"] == 0


def test_nan_in_the_output_stays_visible_without_truths():
    x = torch.zeros(1, 14, 4, 4)
    x[0, 4, 1, 1] = math.nan
    assert run(HEAD, x, as_truth(np.zeros((1, 1, 5))))[0].loss.isnan()


def test_rolling_statistics_survive_a_batch_without_deltas():
    cfg = HEAD.replace("[yolo]", "max_batches=100\nnum_sigmas_reject_badlabels=2\n[yolo]") + "obj_normalizer=0\n"
    _, context = run(cfg, torch.zeros(1, 14, 4, 4), as_truth(np.zeros((1, 1, 5))), iteration=90,
                    rolling=torch.tensor([1., .5, .125, 0], dtype=torch.float64))
    assert context.rolling.tolist() == [1, .5, .125, 0]
