"""Images: reading, and the resizing that Darknet does. Arrays are OpenCV's (H, W, C) BGR, tensors (C, H, W) RGB."""
from __future__ import annotations

import io
import os
import re
import threading

import cv2
import imagesize
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from darknet_py.errors import DataError, Reason, cause
from darknet_py.utils.files import check_regular

# Pixels beyond which a picture is refused, before it is decoded; Pillow refuses as many.
MAX_PIXELS = int(os.environ.get("DARKNET_PY_MAX_IMAGE_PIXELS", 178_956_970))
LARGE = 1 << 24                                                 # numbers of a picture that is not converted whole
GREY = 0.5                                                       # the bars of a letterbox
# Each scan of a progressive JPEG goes over all of the picture, and needs hardly a byte. Cameras write about ten.
MOST_SCANS, MOST_SEGMENTS = 200, 10_000
MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
SCAN, BEGINS, ENDS = 0xda, (0x01, 0xd8), 0xd9                    # markers of JPEG; those of BEGINS have no length
JPEG, JPEG_ENDS = b"\xff\xd8", np.frombuffer(b"\xff\xd9" * 2 ** 16, np.uint8)
CV_LOG = cv2.utils.logging if hasattr(cv2.utils, "logging") else cv2    # OpenCV 5, 4
CV_SILENT = 0                                                    # LOG_LEVEL_SILENT, a name that OpenCV 4 lacks
CV_FLAGS = {1: cv2.IMREAD_GRAYSCALE, 3: cv2.IMREAD_COLOR}
UNIT = np.arange(256, dtype=np.float32) / np.float32(255)         # of a uint8 in [0, 1]
TO_RGB = {3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}


def read_image(path: str | os.PathLike, channels: int = 3) -> np.ndarray:
    """Decode an image file.

    Args:
        path: any format that OpenCV decodes, with 8 or 16 bits a sample.
        channels: 3 for BGR, 1 for grey.

    Returns:
        uint8 (H, W, channels). An alpha channel is dropped, 16 bits are cut to the upper 8. An EXIF orientation is
        applied, as OpenCV (and so Darknet built with it) does: height and width are those of the upright picture.

    A JPEG that is cut off is read as C reads it, with grey where it has no pixels; see ``decode_file``.

    Raises:
        DataError: a file that is missing, empty, broken or no image.
        ValueError: channels is neither 1 nor 3.
    """
    return decode_file(path, channels)[0]


def decode_file(path: str | os.PathLike, channels: int = 3) -> tuple[np.ndarray, bool]:
    """``read_image``, and whether the picture is a JPEG that ends too early.

    OpenCV's imread, which C uses, gives the end-of-image marker to libjpeg as often as it asks beyond the end of a
    file: what is missing of such a JPEG comes out grey. Its imdecode, which also reads from paths that imread cannot
    open, gives nothing then, so here the markers are added to the bytes. The pixels are those of imread. Cut files of
    other formats neither of them reads.
    """
    if channels not in CV_FLAGS:
        raise ValueError(f"channels must be 1 or 3, got {channels}")
    try:
        check_regular(path)
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        shown = str(path) if str(path) else "''"
        raise DataError(f"{shown}: cannot read the image: {cause(error)}", Reason.reading(error)) from None
    except ValueError as error:                                 # a NUL in the name
        raise DataError(f"{str(path)!r}: cannot read the image: {error}", Reason.UNREADABLE) from None
    return decode_bytes(data, str(path), channels)


def decode_bytes(data: np.ndarray, name: str, channels: int = 3, most: int | None = None) -> tuple[np.ndarray, bool]:
    """``decode_file`` of the bytes (N,) uint8 of an image file.

    Args:
        name: of the image, for errors.
        most: pixels beyond which it is refused; an image whose header does not say how many it has is refused, too.
            None: ``MAX_PIXELS``.

    Raises:
        DataError: see ``read_image``.
    """
    if data.size == 0:
        raise DataError(f"{name}: the image file is empty (0 bytes)", Reason.EMPTY)
    width, height = size_in_header(data)
    if most is not None and not width * height:
        raise DataError(f"{name}: not an image, or one that does not say its size ({data.size} bytes)",
                        Reason.WRONG_FORMAT)
    if width * height > (MAX_PIXELS if most is None else most):
        hint = "; DARKNET_PY_MAX_IMAGE_PIXELS in the environment raises the limit" if most is None else ""
        raise DataError(f"{name}: expected an image of at most {MAX_PIXELS if most is None else most} pixels, found "
                        f"{width} x {height}{hint}", Reason.TOO_LARGE)
    if data[:2].tobytes() == JPEG and has_many_scans(data):
        raise DataError(f"{name}: expected a JPEG of at most {MOST_SCANS} scans and {MOST_SEGMENTS} segments, found "
                        "more", Reason.TOO_LARGE)
    cut = False
    with quiet_opencv:
        try:
            image = cv2.imdecode(data, CV_FLAGS[channels])
            if image is None and data[:2].tobytes() == JPEG:
                cut, image = True, cv2.imdecode(np.concatenate([data, JPEG_ENDS]), CV_FLAGS[channels])
        except cv2.error as error:
            raise DataError(f"{name}: cannot decode the image: {error.err}", Reason.CORRUPT) from None
    if image is None:
        raise DataError(f"{name}: not an image, or a broken one ({data.size} bytes)", Reason.CORRUPT)
    return image.reshape(*image.shape[:2], channels), cut


def size_in_header(data: np.ndarray) -> tuple[int, int]:
    """Width and height in pixels that the bytes (N,) of an image file claim; 0 and 0 where nothing is known of them.

    Only of the formats with little compression (Sun raster, Radiance, PFM, PAM) nothing is known.
    """
    start = data[:1 << 20].tobytes()
    if start[:1] == b"<":               # SVG, which OpenCV does not decode
        return 0, 0
    try:
        width, height = imagesize.get(io.BytesIO(start), exif_rotation=False)
    except Exception:                   # of many kinds, for a broken file
        return 0, 0
    return max(0, int(width)), max(0, int(height))


def has_many_scans(data: np.ndarray) -> bool:
    """Whether a JPEG (N,) uint8 has more scans, or segments, than any honest one."""
    view, at, scans = np.ascontiguousarray(data).data, 2, 0
    for _ in range(MOST_SEGMENTS):
        found = MARKER.search(view, at)
        if found is None or (kind := view[found.end() - 1]) == ENDS:
            return False
        at = found.end()
        scans += kind == SCAN
        if scans > MOST_SCANS:
            return True
        if kind not in BEGINS:
            at += int.from_bytes(view[at:at + 2], "big")
    return True


def to_tensor(image: np.ndarray) -> Tensor:
    """An OpenCV array as the network wants it.

    Args:
        image: (H, W), (H, W, 1), BGR (H, W, 3) or BGRA (H, W, 4); uint8, uint16, or a float type already in [0, 1].

    Returns:
        float32 (C, H, W) in [0, 1]; RGB, or one channel for grey. Alpha is dropped. It shares no memory with image.

    Raises:
        DataError: not such an array, or an empty one.

    Darknet: mat_to_image, load_image_stb (divides by 255).
    """
    if not isinstance(image, np.ndarray):
        raise DataError(f"an image must be a numpy array, got {type(image).__name__}", Reason.WRONG_FORMAT)
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3, 4)):
        hint = "; transpose(1, 2, 0) puts the channels last" if image.ndim == 3 and image.shape[0] in (1, 3) else (
            "; give several as a list" if image.ndim == 4 else "")
        raise DataError(f"an image must be (H, W) or (H, W, 1, 3 or 4 channels), got the shape {image.shape}{hint}",
                        Reason.SHAPE_MISMATCH)
    if image.size == 0:
        raise DataError(f"an image must have at least one pixel, got the shape {image.shape}", Reason.EMPTY)
    if image.dtype.kind == "f":
        image, top = image.astype(np.float32), None
    elif image.dtype.kind == "u" and image.dtype.itemsize <= 2:
        top = np.iinfo(image.dtype).max
    else:
        raise DataError(f"an image must be uint8, uint16 or float, got {image.dtype}", Reason.WRONG_FORMAT)
    image = np.ascontiguousarray(image, image.dtype.newbyteorder("="))
    if image.ndim == 3 and image.shape[2] in TO_RGB:
        image = cv2.cvtColor(image, TO_RGB[image.shape[2]])
    x = np.atleast_3d(image).transpose(2, 0, 1).astype(np.float32, order="C")      # (C, H, W)
    return torch.from_numpy(x if top is None else np.divide(x, np.float32(top), out=x))


def resize(x: Tensor | np.ndarray, width: int, height: int) -> Tensor:
    """Stretch (C, H, W), or an OpenCV array, to (C, height, width): bilinear, the centres of the corner pixels aligned.

    Returns x itself where nothing changes. Of a large array only those pixels are converted that count.

    Darknet: resize_image, with what it does at the edges. The last column is the last source column, also where width
    is 1. The last row never gets the share of its lower neighbour, so it comes out nearly black where float32 rounds
    (height - 1) * ((H - 1) / (height - 1)) below H - 1, as for 333 -> 320. A height of 1 is undefined in C, which
    divides by 0: here the last source row.
    """
    if isinstance(x, np.ndarray):
        if x.size > LARGE:
            return _sampled(x, width, height)
        x = _interleaved(x) if x.dtype == np.uint8 and x.ndim == 3 and x.shape[2] == 3 and x.size else to_tensor(x)
        return resize(x, width, height).contiguous()
    _, rows, columns = x.shape
    if (columns, rows) == (width, height):
        return x
    y = F.interpolate(x[None], size=(height, width), mode="bilinear", align_corners=True)[0]
    if columns > 1 and (width == 1 or _last_position(columns, width) != columns - 1):
        y[:, :, -1:] = resize(x[:, :, -1:], 1, height)
    position = _last_position(rows, height)
    if rows > 1 and (height == 1 or position != rows - 1):
        upper = int(position)
        y[:, -1:] = resize(x[:, upper:upper + 1], width, 1) * (1 - (position - upper))
    return y


def _interleaved(image: np.ndarray) -> Tensor:
    """``to_tensor`` of BGR uint8, but for how it lies in memory: pixel by pixel, which is resized in less time."""
    rgb = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_BGR2RGB)
    return torch.from_numpy(cv2.LUT(rgb, UNIT)).permute(2, 0, 1)


def _sampled(image: np.ndarray, width: int, height: int) -> Tensor:
    """``resize`` of an OpenCV array by way of the four neighbours of each new pixel."""
    (rows, of_rows), (columns, of_columns) = _neighbours(image.shape[0], height), _neighbours(image.shape[1], width)
    columns[-2:], of_columns[-2:] = image.shape[1] - 1, torch.tensor([1., 0.])
    if rows[-2] != image.shape[0] - 1:
        of_rows[-1] = 0
    x = to_tensor(image[np.ix_(rows, columns)])                                     # (C, 2 * height, 2 * width)
    return (x * of_columns * of_rows[:, None]).unflatten(2, (-1, 2)).sum(3).unflatten(1, (-1, 2)).sum(2)


def _neighbours(source: int, target: int) -> tuple[np.ndarray, Tensor]:
    """Of target pixels on an axis: (2 * target,) the two source pixels around each, and their shares."""
    step = np.float32(source - 1) / np.float32(target - 1) if target > 1 else np.float32(0)
    position = np.arange(target, dtype=np.float32) * step
    position[-1] = _last_position(source, target)
    lower = position.astype(np.int64)
    share = torch.from_numpy(position - lower.astype(np.float32))
    return np.stack([lower, np.minimum(lower + 1, source - 1)], 1).ravel(), torch.stack([1 - share, share], 1).ravel()


def letterbox(x: Tensor | np.ndarray, width: int, height: int) -> Tensor:
    """Fit (C, H, W), or an OpenCV array, into (C, height, width) keeping the proportions, centred on grey (0.5).

    Darknet: letterbox_image.
    """
    rows, columns = x.shape[:2] if isinstance(x, np.ndarray) else x.shape[1:]
    new_w, new_h = letterbox_size(columns, rows, width, height)
    left, top = (width - new_w) // 2, (height - new_h) // 2
    inside = resize(x, new_w, new_h)
    boxed = inside.new_full((len(inside), height, width), GREY)
    boxed[:, top:top + new_h, left:left + new_w] = inside
    return boxed


def letterbox_size(image_width: int, image_height: int, width: int, height: int) -> tuple[int, int]:
    """Width and height in pixels of the picture inside a letterbox of width x height.

    Darknet: the head of letterbox_image: sizes rounded down, the proportions compared in float32. Where C gets 0
    pixels for a very long picture, this is 1.
    """
    if np.float32(width) / np.float32(image_width) < np.float32(height) / np.float32(image_height):
        return width, max(1, image_height * width // image_width)
    return max(1, image_width * height // image_height), height


def undo_letterbox(boxes: Tensor, image_width: int, image_height: int, width: int, height: int) -> Tensor:
    """Boxes of a letterboxed network input as boxes of the image.

    Args:
        boxes: (K, 4) cxcywh relative to the network input (0 to 1 over width and height).
        image_width, image_height: the image before letterboxing, in pixels.
        width, height: the network input, in pixels.

    Returns:
        (K, 4) cxcywh relative to the image. Boxes on the grey bars fall outside [0, 1].

    Darknet: correct_yolo_boxes with letter=1, relative=1.
    """
    new_w, new_h = letterbox_size(image_width, image_height, width, height)
    offset = boxes.new_tensor([(width - new_w) / 2 / width, (height - new_h) / 2 / height, 0, 0])
    ratio = boxes.new_tensor([new_w / width, new_h / height] * 2)
    return (boxes - offset) / ratio


def _last_position(source: int, target: int) -> float:
    """Where C's float32 arithmetic places the last of target pixels on the source axis."""
    if target == 1:
        return float(source - 1)
    return float(np.float32(target - 1) * (np.float32(source - 1) / np.float32(target - 1)))


class _QuietOpenCV:
    """A context that keeps OpenCV's log off stderr: what it would say is raised as an error.

    The complaints of libpng and libjpeg themselves about some broken files still appear. The level is one for the
    whole process, so of overlapping users in several threads the last one restores it.
    """

    def __init__(self):
        self.lock, self.users, self.level = threading.Lock(), 0, 0

    def __enter__(self):
        with self.lock:
            if self.users == 0:
                self.level = CV_LOG.getLogLevel()
                CV_LOG.setLogLevel(CV_SILENT)
            self.users += 1

    def __exit__(self, *exception):
        with self.lock:
            self.users -= 1
            if self.users == 0:
                CV_LOG.setLogLevel(self.level)


quiet_opencv = _QuietOpenCV()
