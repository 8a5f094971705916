"""The filters of a layer as an image."""
from __future__ import annotations

import math

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from darknet_py.errors import DarknetError, Reason
from darknet_py.layers import Layer
from darknet_py.layers.batchnorm import Normalized
from darknet_py.layers.connected import Connected
from darknet_py.model.network import Network

ZOOM, SIDE = 16, 1024       # a weight's pixels at most, and the picture's where one pixel a weight leaves room


def picture_of_filters(network: Network, index: int | None = None) -> np.ndarray:
    """The filters of a layer: in colour if they have three channels, in rows of fields a channel if they have several.

    Args:
        index: of a [convolutional], [deconvolutional] or [connected] layer; None for the first of them.

    Returns:
        (H, W, 3) BGR or (H, W, 1) uint8; each filter from its least weight, black, to its largest, white.

    Raises:
        DarknetError: no such layer.

    Darknet: visualize_network, show_images; it has one filter a row always.
    """
    if index is None:
        index = next((i for i, layer in enumerate(network.layers) if _filters(layer) is not None), 0)
    if not 0 <= index < len(network.layers):
        raise DarknetError(f"-layer needs a number from 0 to {len(network.layers) - 1}, found {index}")
    x = _filters(network.layers[index])
    if x is None:
        raise network.layers[index].place.error("has no filters of its own", reason=Reason.BAD_REFERENCE)
    low, high = (bound.view(-1, 1, 1, 1) for bound in x.flatten(1).aminmax(dim=1))
    flat = high - low < 1e-9
    x = ((x - low.masked_fill(flat, 0)) / (high - low).masked_fill(flat, 1)).clamp(0, 1)        # (n, C, h, w)
    if x.shape[1] in (1, 3):
        columns = math.isqrt(len(x) - 1) + 1
        x = F.pad(x.flip(1), (0, 0, 0, 0, 0, 0, 0, -len(x) % columns)).unflatten(0, (-1, columns))
    else:
        x = x[:, :, None]
    rows, columns, channels, height, width = x.shape
    x = F.pad(255 * x, (0, 1, 0, 1)).permute(0, 3, 1, 4, 2)         # a black line after each field
    picture = x.reshape(rows * (height + 1), columns * (width + 1), channels)[:-1, :-1].byte().numpy()
    zoom = max(1, min(ZOOM, SIDE // max(picture.shape)))
    return picture.repeat(zoom, 0).repeat(zoom, 1)


def _filters(layer: Layer) -> Tensor | None:
    """(n, C, h, w), where a layer has such weights of its own."""
    if not isinstance(layer, Normalized) or not any(layer.blobs()):
        return None
    weight = layer.weight.detach().transpose(0, layer.output_axis).float().cpu()
    return weight.reshape(-1, *layer.shapes[0]) if isinstance(layer, Connected) else weight
