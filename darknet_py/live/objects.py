"""Objects by their classes: only some reported, some made unrecognizable; each as a picture, or in label files."""
from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from darknet_py.errors import DataError, Reason, cause
from darknet_py.inference.detections import Detections
from darknet_py.live.files import frame_path
from darknet_py.live.results import Result
from darknet_py.ops.boxes import within
from darknet_py.utils.files import write_file

CELLS, LEAST_CELL = 6, 8        # along the longer side of a box, at most; the least side of one, in pixels
MARGIN = .1                     # of a box's side, around it, that is made unrecognizable too
QUALITY = 95                    # of the JPEGs of objects


def pixelate(image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """A copy of a picture whose boxes cannot be recognized: each is a few cells, of which only the mean colour is left.

    A box has at most ``CELLS`` cells along its longer side, and a small one fewer, so what is in it cannot be restored.

    Args:
        image: (H, W, C) or (H, W) uint8.
        boxes: (K, 4) left, top, right, bottom in pixels; they may reach beyond the picture.
    """
    image = image.copy()
    for left, top, right, bottom in _inside(boxes, image.shape, MARGIN):
        part = image[top:bottom, left:right]
        longer = max(part.shape[:2])
        cells = max(1, min(CELLS, longer // LEAST_CELL))
        few = tuple(max(1, round(side * cells / longer)) for side in part.shape[1::-1])
        means = cv2.resize(part, few, interpolation=cv2.INTER_AREA)
        part[...] = cv2.resize(means, part.shape[1::-1], interpolation=cv2.INTER_NEAREST).reshape(part.shape)
    return image


class ChooseObjects:
    """Pixelates the objects of some classes in the frame, and then reports those of some classes alone.

    Args:
        only, blur: class numbers; None: all are reported; none is pixelated.
    """

    def __init__(self, only: Sequence[int] | None, blur: Sequence[int] | None):
        self.only, self.blur = only, blur

    def __call__(self, result: Result) -> None:
        result.detections, result.image = self.of(result.detections, result.image)

    def of(self, found: Detections, image: np.ndarray) -> tuple[Detections, np.ndarray]:
        """The detections that are left, and the picture to show."""
        if self.blur is not None:
            image = pixelate(image, found.boxes[np.isin(found.labels, self.blur)])
        return (found if self.only is None else found.select(np.isin(found.labels, self.only))), image


class ObjectPictures:
    """Each object as a JPEG, FOLDER/CLASS/PICTURE_N.jpg; where that is there, PICTURE_N_2.jpg and so on.

    Raises:
        DataError: a file or folder cannot be written.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:
            raise DataError(f"{folder}: cannot make the folder: {cause(error)}", Reason.UNWRITABLE) from None

    def write(self, result: Result) -> None:
        self.add(f"{result.number:08d}", result.detections, result.image)

    def add(self, name: str, found: Detections, image: np.ndarray) -> None:
        """The objects of a picture (H, W, C) of that name. Boxes outside of it are left out."""
        for number, detection in enumerate(found, 1):
            for left, top, right, bottom in _inside(detection.box[None], image.shape):
                data = cv2.imencode(".jpg", image[top:bottom, left:right], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
                path = self._new(self.folder / as_file_name(detection.name), f"{name}_{number}")
                write_file(path, data.tobytes())

    def close(self) -> None:
        """Each file is whole already."""

    @staticmethod
    def _new(folder: Path, stem: str) -> Path:
        """A file that was not there, and now is, empty."""
        path, number = folder / f"{stem}.jpg", 2
        try:
            folder.mkdir(exist_ok=True)
            while True:
                try:
                    open(path, "xb").close()
                    return path
                except FileExistsError:
                    path, number = folder / f"{stem}_{number}.jpg", number + 1
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: cannot write the picture: {cause(error)}", Reason.UNWRITABLE) from None


class LabelFiles:
    """A label file a frame, PREFIX_00000001.txt and so on, beside the pictures of the same prefix."""

    def __init__(self, prefix: str):
        self.prefix = prefix

    def write(self, result: Result) -> None:
        write_file(frame_path(self.prefix, result, ".txt"), result.detections.to_labels().encode())

    def close(self) -> None:
        """Each file is whole already."""


def as_file_name(name: str) -> str:
    """A class name as the name of a folder, on any system."""
    return re.sub(r"[^\w .+-]", "_", name)[:100].strip(" .") or "_"


def _inside(boxes: np.ndarray, shape: Sequence[int], margin: float = 0) -> list[list[int]]:
    """Boxes (K, 4) with a margin in parts of their sides, cut off at a picture's edges; those without a pixel in it are
    left out."""
    around = margin * np.tile(boxes[:, 2:] - boxes[:, :2], 2) * (-1, -1, 1, 1)
    corners = within(boxes + around, shape)
    return corners[(corners[:, 2:] > corners[:, :2]).all(1)].tolist()
