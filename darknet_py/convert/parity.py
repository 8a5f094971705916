"""Parity of a converted model: the difference between its results and the network's."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from darknet_py.convert.formats import ExportOptions, Format
from darknet_py.inference.backends.base import Backend
from darknet_py.inference.backends.parity import CLOSE, HALF, Parity, difference
from darknet_py.inference.backends.pytorch import PyTorch
from darknet_py.layers import DetectionHead
from darknet_py.model.network import Network
from darknet_py.model.weights import VERSION, Header
from darknet_py.ops.boxes import cxcywh_to_xyxy, xyxy_to_cxcywh
from darknet_py.ops.nms import nms
from darknet_py.utils.files import temporary_folder

EXACT = 0.                                  # the error allowed of the weights alone
FEW = .02                                   # the share of detections that suppression may choose otherwise


def compare(network: Network, kind: Format, path: Path, options: ExportOptions, images: Tensor) -> Parity:
    """Run the network and the converted model on images (N, C, H, W) in [0, 1].

    Suppression depends on the last bits of scores and overlaps. So with outputs="nms" the boxes before suppression are
    compared, of a second model that gives them, and then the suppression of these very boxes.
    """
    run, allowed = kind.load(network, path), HALF if options.half else CLOSE if kind.graph else EXACT
    if options.outputs != "nms":
        return Parity(_worst(network, run, options, images), allowed, len(images))
    with temporary_folder(path.parent) as folder:
        before, everything = replace(options, outputs="boxes"), folder / path.name
        kind.write(network, Header(*VERSION, 0, 20), everything, before, {})
        find = kind.load(network, everything)
        errors = [suppressed_error(find(x), run(x), options) for x in _batches(images, options)]
        return Parity(max(_worst(network, find, before, images), *errors), allowed, len(images))


def _worst(network: Network, run: Backend, options: ExportOptions, images: Tensor) -> float:
    """The worst difference between the outputs of the network and the model."""
    return max(difference(expected(network, x, options), run(x)) for x in _batches(images, options))


def _batches(images: Tensor, options: ExportOptions) -> Iterator[Tensor]:
    """All images at once, or as many as a model takes; then the last ones may come twice."""
    step = len(images) if options.batch is None else options.batch
    for x in images.split(step):
        yield torch.cat([x, *[x[:1]] * (step - len(x))])


def expected(network: Network, x: Tensor, options: ExportOptions) -> Sequence[Tensor]:
    """The network's results in the form of the model's outputs."""
    outputs = PyTorch(network).checked(x, "so there is nothing to compare with")
    if options.outputs == "heads":
        return outputs
    found = [all_boxes(network, head, output) for head, output in zip(network.heads, outputs, strict=True)]
    return [torch.cat(some, 1) for some in zip(*found, strict=True)]


def all_boxes(network: Network, head: int, output: Tensor) -> tuple[Tensor, Tensor]:
    """A head's boxes (N, K, 4), x1, y1, x2, y2 relative, and scores (N, K, classes), whatever they are."""
    shape, layer = network.input_shape, network.layers[head]
    assert isinstance(layer, DetectionHead)
    found = layer.decode(output, shape.width, shape.height, -torch.inf, 0)
    count = len(output)
    return cxcywh_to_xyxy(found.boxes).view(count, -1, 4), found.scores.view(count, -1, found.scores.shape[1])


def suppressed_error(before: Sequence[Tensor], after: Sequence[Tensor], options: ExportOptions) -> float:
    """The difference between a model's detections and those that suppression of its boxes should leave.

    Args:
        before: boxes (N, K, 4) and scores (N, K, classes).
        after: image, box, score and label of each detection.

    Returns:
        The worst difference of a detection from the nearest of the others, all but a few (``FEW``), whose scores or
        overlaps hardly differ from a threshold or from each other.
    """
    boxes, scores, image, box, score, label = *before, *after
    errors = []
    for number, (ours, likely) in enumerate(zip(boxes, scores, strict=True)):
        left = nms(xyxy_to_cxcywh(ours), torch.where(likely > options.score, likely, 0), options.overlap)
        place, classes = (left > 0).nonzero(as_tuple=True)
        here = image == number
        mine, theirs = (torch.cat([corners.asinh(), sure[:, None], kind[:, None].float()], 1)
                        for corners, sure, kind in ((ours[place], left[place, classes], classes),
                                                    (box[here], score[here], label[here])))
        if len(mine) and len(theirs):
            apart = torch.cdist(mine, theirs, p=torch.inf)      # asinh: of large values the difference in parts of them
            errors += [apart.amin(1), apart.amin(0)]
        elif len(mine) != len(theirs):
            errors.append(torch.full((len(mine) + len(theirs),), torch.inf))
    worst = torch.cat(errors).sort().values if errors else torch.zeros(1)
    return float(worst[:max(1, len(worst) - int(FEW * len(worst)))][-1])
