"""An image in any form that callers have it in, as an OpenCV array: paths, URLs, arrays, PIL images, tensors."""
from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, TypeAlias, TypeGuard

import numpy as np
from torch import Tensor

from darknet_py.data.image import decode_bytes, read_image
from darknet_py.data.lists import STDIN, find_images, is_url, stands_for_itself
from darknet_py.errors import DataError, Reason, cause

if TYPE_CHECKING:
    from PIL import Image as pil

Image: TypeAlias = "str | os.PathLike | np.ndarray | pil.Image | Tensor"
WHAT = ("a path, folder, pattern, list (.txt) or URL of pictures; an array (H, W, 3) BGR or (H, W) grey; a PIL image; "
        "or a tensor (3, H, W) RGB")

MOST_BYTES = 1 << 30            # of the standard input
ROUNDING = 1e-3                 # by which floats may leave [0, 1]
ORIENTATION = 0x0112            # the tag of EXIF
DEEP = ("I", "I;16", "I;16L", "I;16B", "I;16N")     # modes of 16 bits; files with these may open as I
FLAT = {"1": "L", "LA": "L", "La": "LA", "RGBa": "RGBA"}    # modes that turn into RGB or L by way of others
_loading = threading.Lock()     # a PIL image decodes its file when it is first needed, in one thread at a time


def decode(image: Image, channels: int = 3) -> np.ndarray:
    """The pixels of an image.

    Args:
        image: the path of a file; an URL of http or https; ``-``, the bytes of an image file on the standard input; a
            folder, pattern or list with one picture; an array (H, W, 3) BGR, (H, W, 4) BGRA or (H, W) grey, uint8,
            uint16 or floats in [0, 1]; a PIL image in any mode but F, turned upright as its EXIF says; a tensor
            (3, H, W) RGB or (1, H, W) grey on any device, uint8 or floats in [0, 1].
        channels: that files are decoded with: 3 for BGR, 1 for grey.

    Returns:
        (H, W, C) BGR or (H, W) grey: uint8; of arrays and tensors in the type that was given, with floats in [0, 1]. An
        alpha channel of files and PIL images is dropped, and of their 16 bits the upper 8 are kept.

    Raises:
        DataError: it cannot be read or fetched; a shape or type that images do not have; floats beyond [0, 1], or NaN.
        TypeError: something else.
    """
    if isinstance(image, np.ndarray):
        return _in_range(image, "an array")
    if isinstance(image, Tensor):
        return _in_range(_from_tensor(image), "a tensor")
    if is_pil(image):
        return _from_pil(image)
    if not isinstance(image, (str, os.PathLike)):
        raise TypeError(f"expected {WHAT}, found {type(image).__name__}")
    name = os.fsdecode(image).removeprefix("file://")
    if is_url(name):
        from darknet_py.data.remote import fetch_picture
        return decode_bytes(np.frombuffer(fetch_picture(name), np.uint8), name, channels)[0]
    if stands_for_itself(name):
        if name == STDIN and not os.path.exists(name):
            return decode_bytes(_standard_input(), "the standard input", channels)[0]
        return read_image(name, channels)
    found = list(find_images([name]))
    if len(found) > 1:
        raise DataError(f"{name}: expected one picture, found {len(found)}", Reason.WRONG_COUNT)
    return read_image(found[0], channels)


def is_image(given: object) -> TypeGuard[Image]:
    """Whether this has one of the types of images."""
    return isinstance(given, (str, os.PathLike, np.ndarray, Tensor)) or is_pil(given)


def is_pil(given: object) -> TypeGuard[pil.Image]:
    """Whether this is a PIL image. It takes .04 s to import PIL, which whoever has such an image has done."""
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(given, module.Image)


def as_uint8(image: np.ndarray) -> np.ndarray:
    """An image as ``decode`` gives it, in uint8; itself where it is that."""
    if image.dtype.kind == "f":
        return (image.clip(0, 1) * 255).round().astype(np.uint8)
    return (image >> 8).astype(np.uint8) if image.dtype.kind == "u" and image.dtype.itemsize == 2 else image


def _in_range(image: np.ndarray, what: str) -> np.ndarray:
    if image.dtype.kind == "f" and image.size:
        low, high = float(image.min()), float(image.max())
        if np.isnan(low):
            raise DataError(f"{what} of floats must lie in [0, 1], found nan", Reason.OUT_OF_RANGE)
        if low < -ROUNDING or high > 1 + ROUNDING:
            hint = "divide by 255, or give uint8" if low >= -ROUNDING else "give it before it is normalized"
            raise DataError(f"{what} of floats must lie in [0, 1], found values from {low:g} to {high:g}; {hint}",
                            Reason.OUT_OF_RANGE)
    return image


def _from_tensor(x: Tensor) -> np.ndarray:
    if x.ndim == 4 and len(x) == 1:
        x = x[0]
    if x.ndim != 3 or x.shape[0] not in (1, 3):
        hint = "; permute(2, 0, 1) puts the channels first" if x.ndim == 3 and x.shape[2] in (1, 3) else ""
        raise DataError(f"a tensor must be (3, H, W) RGB or (1, H, W) grey, or (N, 3, H, W), got the shape "
                        f"{tuple(x.shape)}{hint}", Reason.SHAPE_MISMATCH)
    if x.dtype.is_floating_point:
        x = x.float()
    elif str(x.dtype) != "torch.uint8":
        raise DataError(f"a tensor must be uint8, or floats in [0, 1], got {str(x.dtype).removeprefix('torch.')}",
                        Reason.WRONG_FORMAT)
    return np.ascontiguousarray(x.detach().cpu().flip(0).permute(1, 2, 0).numpy())


def _from_pil(image: pil.Image) -> np.ndarray:
    from PIL import ImageOps
    if image.mode == "F" or 0 in image.size:
        raise DataError(f"a PIL image must have pixels, and a mode other than F (floats), got {image.mode} of "
                        f"{image.width} x {image.height}; convert it to L or RGB", Reason.WRONG_FORMAT)
    try:
        with _loading:
            image.load()
            turned = image.getexif().get(ORIENTATION, 1) not in (0, 1)
        upright = ImageOps.exif_transpose(image) if turned else image
        if upright.mode in DEEP:
            deep = np.asarray(upright).astype(np.int64)
            if deep.min() < 0 or deep.max() > 0xFFFF:
                raise DataError(f"a PIL image of the mode I must have 16 bits, got values from {deep.min()} to "
                                f"{deep.max()}", Reason.OUT_OF_RANGE)
            return (deep >> 8).astype(np.uint8)
        flat = upright.convert(FLAT[upright.mode]) if upright.mode in FLAT else upright
        if flat.mode == "L":
            return np.asarray(flat)
        return np.ascontiguousarray(np.asarray(flat.convert("RGB"))[..., ::-1])
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"a PIL image cannot be decoded: {cause(error)}", Reason.CORRUPT) from None


def _standard_input() -> np.ndarray:
    stream = getattr(sys.stdin, "buffer", None)
    if stream is None or sys.stdin.isatty():
        raise DataError("-: expected the bytes of an image file on the standard input, found a terminal",
                        Reason.UNREADABLE)
    data = stream.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise DataError(f"the standard input: expected an image file of at most {MOST_BYTES} bytes, found more",
                        Reason.TOO_LARGE)
    return np.frombuffer(data, np.uint8)
