"""Images as a network's input: channels, resizing, letterboxing."""
from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from darknet_py.data.given import WHAT, Image, is_image
from darknet_py.data.image import LARGE, resize, to_tensor
from darknet_py.data.image import letterbox as letterbox_image
from darknet_py.data.lists import find_images, stands_for_itself
from darknet_py.errors import CfgError, Reason
from darknet_py.inference.tiles import Tiling
from darknet_py.layers.base import Shape
from darknet_py.model.network import Network


def check_takes_images(network: Network) -> None:
    """Raises:
        CfgError: the network's input has another number of channels than images have.
    """
    if network.input_shape.channels not in (1, 3):
        raise CfgError(f"takes no pictures: its input has {network.input_shape.channels} channels, expected 3 or 1",
                       Reason.SHAPE_MISMATCH, network.cfg.path, network.cfg.sections[0].line)


def as_list(given: Image | Sequence[Image]) -> tuple[list[Image], bool]:
    """Images as a list, and whether this was one alone.

    Raises:
        TypeError: it is neither an image nor a sequence.
        DataError: a folder or list without pictures, or a pattern that matches nothing.
    """
    if is_image(given):
        images = _of_one(given)
        return ([given], True) if images is None else (images, False)
    if isinstance(given, Sequence) and not isinstance(given, (bytes, bytearray, memoryview)):
        return list(given), False
    hint = ""
    if isinstance(given, Iterable) and not isinstance(given, Mapping):
        hint = "; stream() takes iterators, of any length"
    if hasattr(given, "read"):
        hint = "; PIL.Image.open(...) opens a file object"
    elif isinstance(given, (bytes, bytearray, memoryview)):
        hint = "; PIL.Image.open(io.BytesIO(...)) opens the bytes of a file"
    raise TypeError(f"expected an image ({WHAT}) or a list of them, found {type(given).__name__}{hint}")


def batch_size(given: Image | Sequence[Image], images: Sequence[Image]) -> int:
    """How many of the images of ``as_list`` run together: all of a list or tensor; those of a folder, a pattern or a
    list file, which may be any number, one by one."""
    return 1 if isinstance(given, (str, os.PathLike)) else len(images)


def checked(images: Iterable[Image] | Image) -> Iterator[Image]:
    """The images, as they are needed. Each item of an iterable is one image.

    Raises:
        TypeError: at once, these are no images; later, one of them is none.
        DataError: a folder or list without pictures, or a pattern that matches nothing.
    """
    if is_image(images):
        images = _of_one(images) or [images]
    if isinstance(images, bytes) or not isinstance(images, Iterable):
        raise TypeError(f"expected images one after another, or one ({WHAT}), found {type(images).__name__}")
    return (_checked(image, number) for number, image in enumerate(images))


def _of_one(given: Image) -> list[Image] | None:
    """The images of a folder, a pattern, a list file or a tensor (N, C, H, W); None of what is one image."""
    if isinstance(given, (str, os.PathLike)):
        name = os.fsdecode(given)
        return None if stands_for_itself(name) else list(find_images([name]))
    return list(given) if isinstance(given, Tensor) and given.ndim == 4 else None


def _checked(image: Image, number: int) -> Image:
    if not is_image(image):
        raise TypeError(f"images[{number}]: expected {WHAT}, found {type(image).__name__}")
    return image


def path_of(image: Image) -> str | None:
    """The path of an image that came from a file, or what else named it, such as an URL."""
    return os.fsdecode(image) if isinstance(image, (str, os.PathLike)) else None


def as_input(image: np.ndarray, shape: Shape, letterbox: bool) -> Tensor:
    """An OpenCV array as a network's input of this shape: (C, H, W) in [0, 1]."""
    fit = letterbox_image if letterbox else resize
    return fitted(image, shape, fit)


def as_inputs(image: np.ndarray, shape: Shape, letterbox: bool, tiling: Tiling | None = None) -> Tensor:
    """An OpenCV array as a network's inputs (N, C, H, W): itself, or its tiles and then itself."""
    whole = as_input(image, shape, letterbox)           # complains of what is no image
    if tiling is None:
        return whole[None]
    return torch.stack([*(as_input(image[top:bottom, left:right], shape, letterbox)
                          for left, top, right, bottom in tiling.cut(*image.shape[:2])[:-1].tolist()), whole])


def fitted(image: np.ndarray, shape: Shape, fit: Callable[[Tensor | np.ndarray, int, int], Tensor]) -> Tensor:
    """An OpenCV array as (C, H, W) of a shape, by ``fit``, which takes width and height and converts what is large, or
    has as many channels."""
    ready = image.size > LARGE or (image.size > 0 and image.shape[2:] == (shape.channels,))
    x = image if ready else with_channels(to_tensor(image), shape.channels)
    return with_channels(fit(x, shape.width, shape.height), shape.channels)


def with_channels(x: Tensor, channels: int) -> Tensor:
    """An image (C, H, W) with as many channels as the network takes: grey to RGB, RGB to grey."""
    if len(x) == 1 and channels == 3:
        return x.expand(3, -1, -1)
    if len(x) == 3 and channels == 1:
        return (x * x.new_tensor([.299, .587, .114])[:, None, None]).sum(0, keepdim=True)
    return x
