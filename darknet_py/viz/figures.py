"""Rendering of matplotlib figures, to files and arrays, without a window."""
from __future__ import annotations

import io
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from darknet_py.errors import DataError, Reason, cause
from darknet_py.utils.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# one figure is rendered at a time, and none while this process forks: a child would find locks of others taken for ever
RENDERING = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=RENDERING.acquire, after_in_parent=RENDERING.release, after_in_child=RENDERING.release)


def save_figure(figure: Figure, path: str | os.PathLike) -> None:
    """Write a figure to a path of the user's.

    Raises:
        DataError: it cannot be written.
    """
    try:
        write_figure(figure, [Path(path)])
    except OSError as error:
        raise DataError(f"{path}: cannot write the picture: {cause(error)}", Reason.UNWRITABLE) from None
    except ValueError as error:                 # matplotlib's error for an extension
        raise DataError(f"{path}: {error}", Reason.UNSUPPORTED) from None


def write_figure(figure: Figure, paths: Sequence[Path]) -> None:
    """Write a picture under each of its names, in the format that the first one ends with.

    Raises:
        OSError: it cannot be written.
        ValueError: no such format.
    """
    data = _rendered(figure, paths[0].suffix[1:] or "png")
    for path in paths:
        with replacing(path) as file:
            file.write(data)


def _rendered(figure: Figure, extension: str) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    FigureCanvasAgg(figure)
    data = io.BytesIO()
    with RENDERING:
        figure.savefig(data, format=extension)
    return data.getvalue()


def rendered(figure: Figure) -> np.ndarray:
    """A figure as uint8 BGR (H, W, 3)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    canvas = FigureCanvasAgg(figure)
    with RENDERING:
        canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., 2::-1])
