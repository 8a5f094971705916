"""Detection in a pipeline of Ray Data: a callable class for ``Dataset.map_batches``."""
from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from darknet_py.data.image import decode_bytes, read_image
from darknet_py.data.lists import is_url
from darknet_py.errors import DataError, Reason
from darknet_py.inference.detector import Detector
from darknet_py.scale import remote
from darknet_py.scale.rows import COLUMNS, Row, as_table

PICTURES = ("bytes", "image", "path")           # columns that Ray's read_binary_files and read_images give


class _Picture(NamedTuple):
    path: str
    value: Any

    def __str__(self) -> str:
        return self.path or "a picture"


class DetectorActor:
    """Finds objects in the pictures of a batch; made once in each actor.

    >>> import ray
    >>> from darknet_py.scale import DetectorActor
    >>> pictures = ray.data.read_binary_files("photos", include_paths=True)
    >>> found = pictures.map_batches(DetectorActor, fn_constructor_args=("yolov4",), concurrency=2, batch_size=64)
    >>> found.write_parquet("found")

    Args:
        cfg, weights, options: as for ``Detector``.
        column: of the pictures; None: the first of "bytes", "image", "path" that there is. It holds image files as
            bytes, arrays (H, W, 3) RGB uint8 as ``ray.data.read_images`` gives them, or paths or URLs.
        batch: pictures that run together in the network.
    """

    def __init__(self, cfg: Any, weights: str | None = None, *, column: str | None = None, batch: int = 1,
                 **options: Any):
        self.column, self.batch = column, batch
        self.detector = Detector(cfg, weights, **options)
        self.detector.backend.leave_cores()

    def __call__(self, batch: Mapping[str, np.ndarray]) -> Any:
        """Detect in a batch of Ray's format "numpy".

        Returns:
            A ``pyarrow.Table`` with the columns of the batch, but for bytes and arrays of pictures, and width, height,
            boxes, scores, labels, names, seconds, error (see ``Row.fields``). A picture that cannot be read has an
            error.

        Raises:
            DataError: there is no column with pictures.
        """
        import pyarrow
        column = self.column if self.column is not None else next((one for one in PICTURES if one in batch), None)
        if column is None or column not in batch:
            raise DataError(f"expected a column {column or ' or '.join(PICTURES)}, found {', '.join(batch)}",
                            Reason.MISSING_KEY)
        paths = batch.get("path", np.full(len(batch[column]), "")).tolist()
        values = [_Picture(*one) for one in zip(paths, batch[column], strict=True)]
        rows = []
        for number, ((path, _), frame) in enumerate(self.detector.stream(values, batch=self.batch, read=self._image)):
            rows.append(Row(number, path, None, error=str(frame)) if isinstance(frame, DataError) else
                        Row(number, path, frame.detections, frame.seconds))
        table = as_table(rows).select([name for name in COLUMNS if name not in ("id", "path")])
        kept = [name for name in batch if name != column or isinstance(batch[name][0], (str, os.PathLike))]
        for place, name in enumerate(kept):
            table = table.add_column(place, name, [pyarrow.array(batch[name].tolist())])
        return table

    def _image(self, item: _Picture) -> np.ndarray:
        value = item.value
        channels = self.detector.backend.shape.channels
        if isinstance(value, np.ndarray):
            return np.ascontiguousarray(value[..., ::-1]) if value.ndim == 3 and value.shape[2] == 3 else value
        if isinstance(value, (str, os.PathLike)) and not is_url(str(value)):
            return read_image(value, channels)
        data = remote.read(str(value)) if isinstance(value, str) else value
        if not isinstance(data, bytes):
            raise DataError(f"{item}: expected a picture's bytes, array or path, found {type(value).__name__}",
                            Reason.WRONG_FORMAT)
        return decode_bytes(np.frombuffer(data, np.uint8), str(item), channels)[0]
