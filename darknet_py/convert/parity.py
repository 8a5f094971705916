"""Whether a converted model computes what the network computes."""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from darknet_py.boxes import cxcywh_to_xyxy, nms, xyxy_to_cxcywh
from darknet_py.convert.formats import Format, Wanted
from darknet_py.network import Network

EXACT, CLOSE, HALF = 0., 1e-3, 5e-2         # the error allowed: of the weights alone, of another runtime, of float16
FEW = .02                                   # the part of detections that suppression may choose otherwise


@dataclass(frozen=True)
class Parity:
    """The worst difference between outputs, in parts of the larger of 1 and the value.

    images: how many were compared.
    """

    error: float
    allowed: float
    images: int

    @property
    def good(self) -> bool:
        return self.error <= self.allowed

    def __str__(self) -> str:
        return f"worst error {self.error:.2g} over {self.images} images (allowed: {self.allowed:g})"


def compare(network: Network, kind: Format, path: Path, wanted: Wanted, images: Tensor) -> Parity:
    """Run the network and what was made of it on images (N, C, H, W) in [0, 1]."""
    run = kind.load(network, path)
    error, step = 0., len(images) if wanted.batch is None else wanted.batch
    for x in images.split(step):
        x = torch.cat([x, *[x[:1]] * (step - len(x))])
        error = max(error, _difference(expected(network, x, wanted), run(x.numpy()), wanted))
    allowed = HALF if wanted.half else CLOSE if kind.graph else EXACT
    return Parity(error, allowed, len(images))


def expected(network: Network, x: Tensor, wanted: Wanted) -> list[np.ndarray]:
    """What a model of these outputs is to give."""
    with torch.inference_mode():
        outputs = network(x)
    if wanted.outputs == "heads":
        return [output.numpy() for output in outputs]
    found = [all_boxes(network, head, output) for head, output in zip(network.heads, outputs, strict=True)]
    return [torch.cat(some, 1).numpy() for some in zip(*found, strict=True)]


def all_boxes(network: Network, head: int, output: Tensor) -> tuple[Tensor, Tensor]:
    """A head's boxes (N, K, 4), x1, y1, x2, y2 relative, and scores (N, K, classes), whatever they are."""
    shape = network.input_shape
    found = network.layers[head].decode(output, shape.width, shape.height, -torch.inf, 0)
    count = len(output)
    return cxcywh_to_xyxy(found.boxes).view(count, -1, 4), found.scores.view(count, -1, found.scores.shape[1])


def _difference(wanted_values: list[np.ndarray], found: list[np.ndarray], wanted: Wanted) -> float:
    if wanted.outputs == "nms":
        boxes, scores, *rest = map(torch.from_numpy, wanted_values + found)
        return _detections_differ(boxes, scores, *rest, wanted=wanted)
    return max((float(np.max(np.abs(one - other) / np.maximum(1, np.abs(one)))) for one, other in
                zip(wanted_values, found, strict=True)), default=0.)


def _detections_differ(boxes: Tensor, scores: Tensor, image: Tensor, box: Tensor, score: Tensor, label: Tensor,
                       *, wanted: Wanted) -> float:
    """The same for detections. A few may be others, where scores or overlaps hardly differ from a threshold or from
    each other."""
    errors = []
    for number, (ours, likely) in enumerate(zip(boxes, scores, strict=True)):
        left = nms(xyxy_to_cxcywh(ours), torch.where(likely > wanted.threshold, likely, 0), wanted.nms)
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
