"""Nightmare (DeepDream): gradient ascent on a picture that amplifies the strong activations of a layer."""
from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from darknet_py.data.image import resize, to_tensor
from darknet_py.errors import DarknetError, DataError, Reason, locate
from darknet_py.inference.backends.pytorch import PyTorch
from darknet_py.inference.preprocess import with_channels
from darknet_py.model.network import Network

SHIFT = 8               # pixels, either way, that the picture moves before each step
OCTAVE = 4 / 3          # between two sizes


@dataclass(frozen=True)
class NightmareOptions:
    """Options of nightmare; names and defaults are those of C's flags.

    Raises:
        DataError: values that have no meaning.
    """

    range: int = 1          # layers around LAYER, one of which each step takes
    iters: int = 10         # steps a round
    octaves: int = 4        # sizes, each 3/4 of the one before, one of which each step takes
    rate: float = .04       # how far a step goes
    thresh: float = 1       # deviations above the mean that count as strong
    norm: int = 1           # 0: the gradient as it is, else with mean 0 and deviation 1
    rounds: int = 1         # pictures
    zoom: float = 1         # after each round the picture's middle, of this share of its sides, becomes the picture
    rotate: float = 0       # after each round the picture turns by so many radians

    def __post_init__(self) -> None:
        for name in ("range", "octaves", "rounds"):
            if getattr(self, name) < 1:
                raise DataError(f"-{name} needs a number from 1 on, found {getattr(self, name)}", Reason.OUT_OF_RANGE)
        if not self.zoom > 0:
            raise DataError(f"-zoom needs a number above 0, found {self.zoom:g}", Reason.OUT_OF_RANGE)


def nightmare(network: Network, image: np.ndarray, layer: int, options: NightmareOptions | None = None,
              rng: np.random.Generator | None = None) -> Iterator[np.ndarray]:
    """Pictures in which a layer's strong activations are amplified, one a round.

    Args:
        network: it is not touched.
        image: (H, W, 3) BGR or (H, W) grey uint8, in any size.
        layer: the number of the layer; low ones amplify textures, high ones parts of objects.
        rng: all randomness; None gives other pictures every time.

    Yields:
        A round's picture: (H, W, 3) BGR or (H, W, 1) uint8.

    Raises:
        DataError: no such layer.
        CfgError: the network does not take the picture in all the sizes.
        DarknetError: the gradient is not finite.

    Darknet: run_nightmare, optimize_picture.
    """
    o, rng = NightmareOptions() if options is None else options, np.random.default_rng() if rng is None else rng
    layers = range(layer - o.range // 2, layer - o.range // 2 + o.range)
    if layers[0] < 0 or layers[-1] >= len(network.layers):
        raise DataError(f"LAYER and -range ask for layers {layers[0]} to {layers[-1]}, expected numbers from 0 to "
                        f"{len(network.layers) - 1}", Reason.BAD_REFERENCE)
    x = with_channels(to_tensor(image), network.input_shape.channels).contiguous()
    return _rounds(copy.deepcopy(network).eval().requires_grad_(False), x, layers, o, rng)


def _rounds(network: Network, x: Tensor, layers: range, o: NightmareOptions, rng: np.random.Generator
            ) -> Iterator[np.ndarray]:
    for _ in range(o.rounds):
        for _ in range(o.iters):
            index = layers[int(rng.integers(len(layers)))]
            x = _step(network, x, index, OCTAVE ** -int(rng.integers(o.octaves)), o, rng)
        yield _picture(x)
        x = _turned(x, o.rotate) if o.rotate else x
        _, height, width = x.shape
        x = resize(_window(x, int(width * (1 - o.zoom) / 2), int(height * (1 - o.zoom) / 2),
                           max(1, int(width * o.zoom)), max(1, int(height * o.zoom))), width, height)


def _step(network: Network, x: Tensor, index: int, scale: float, o: NightmareOptions, rng: np.random.Generator
          ) -> Tensor:
    """(C, H, W) after a step of gradient ascent, on a shifted, perhaps mirrored copy in another size."""
    _, height, width = x.shape
    dx, dy = rng.integers(-SHIFT, SHIFT, 2).tolist()
    flip = [2] if rng.random() < .5 else []
    small = resize(_window(x, dx, dy, width, height), max(1, int(width * scale)), max(1, int(height * scale)))
    small = small.flip(flip)
    backend = PyTorch(network)
    seen = small[None].to(backend.device, backend.dtype).requires_grad_()
    twin = network.resized(small.shape[2], small.shape[1], index + 1)
    output = twin.output_of(seen, index)
    strong = output.detach().clone()
    strong[strong <= strong.mean() + o.thresh * strong.std()] = 0
    (gradient,) = torch.autograd.grad(output, seen, strong)
    if not gradient.isfinite().all():
        place = network.layers[index].place
        raise DarknetError(f"{locate(network.cfg.path, place.section.line)}: layer {index} [{place.section.kind}] "
                           "gives a gradient that is not finite")
    change = _window(resize(gradient[0].float().cpu().flip(flip), width, height), -dx, -dy, width, height)
    if o.norm:
        change = (change - change.mean()) / change.std().clamp(min=1e-30)
    return (x + o.rate * change).clamp(0, 1)


def _window(x: Tensor, left: int, top: int, width: int, height: int) -> Tensor:
    """A part of (C, H, W), with its edges repeated outside. Darknet: crop_image."""
    rows, columns = ((torch.arange(size) + start).clamp(0, length - 1)
                     for size, start, length in ((height, top, x.shape[1]), (width, left, x.shape[2])))
    return x[:, rows][:, :, columns]


def _turned(x: Tensor, angle: float) -> Tensor:
    """(C, H, W) turned about its middle, black outside. Darknet: rotate_image."""
    _, height, width = x.shape
    cos, sin, cx, cy = math.cos(angle), math.sin(angle), width / 2, height / 2
    source = np.array([[cos, -sin, cx - cos * cx + sin * cy], [sin, cos, cy - sin * cx - cos * cy]])
    image = cv2.warpAffine(x.permute(1, 2, 0).numpy(), source, (width, height),
                           flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return torch.from_numpy(image.reshape(height, width, -1)).permute(2, 0, 1).contiguous()


def _picture(x: Tensor) -> np.ndarray:
    """(C, H, W) RGB or grey in [0, 1] -> (H, W, C) BGR or grey uint8."""
    return np.ascontiguousarray((x.flip(0) * 255).round().byte().permute(1, 2, 0).numpy())
