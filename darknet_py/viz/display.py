"""Pictures shown to a person, in a notebook or in a window, and written as image files."""
from __future__ import annotations

import os
import sys
from pathlib import Path

import cv2
import numpy as np

from darknet_py.errors import DarknetError, DataError, Reason, printable
from darknet_py.utils.files import write_file

MOST = 1600             # pixels of the longer side in a notebook, which keeps all that it shows
WAIT = 50               # milliseconds between two looks whether a window was closed


def show(image: np.ndarray, title: str) -> None:
    """Show (H, W, 3) BGR uint8: in a notebook, or in a window until a key is pressed or it is closed.

    Raises:
        DarknetError: neither is possible.
    """
    if in_notebook():
        from IPython.display import Image, display
        display(Image(data=as_png(image)))
    elif has_window():
        title = printable(title)
        cv2.namedWindow(title, cv2.WINDOW_NORMAL)
        cv2.imshow(title, image)
        while cv2.waitKey(WAIT) < 0 and cv2.getWindowProperty(title, cv2.WND_PROP_VISIBLE) >= 1:
            pass
        cv2.destroyWindow(title)
    elif not _show_with_matplotlib(image, title):
        raise DarknetError("cannot show the picture: this is no notebook, and neither OpenCV nor Matplotlib can open a "
                           "window here; save(path) writes it to a file")


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return getattr(shell, "kernel", None) is not None


def has_window() -> bool:
    """Whether OpenCV can open a window: it is no headless package, and there is a display."""
    framework = getattr(cv2, "currentUIFramework", lambda: "unknown")()
    display = sys.platform in ("win32", "darwin") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
    return bool(framework) and display


def as_png(image: np.ndarray, most: int = MOST) -> bytes:
    """A picture (H, W, 3) BGR uint8 as PNG, made smaller where its longer side is above ``most`` pixels."""
    height, width = image.shape[:2]
    if (scale := most / max(height, width)) < 1:
        image = cv2.resize(image, (max(1, round(width * scale)), max(1, round(height * scale))),
                           interpolation=cv2.INTER_AREA)
    return cv2.imencode(".png", image)[1].tobytes()


def write_picture(path: Path, image: np.ndarray) -> None:
    """Write a picture (H, W, 3) BGR in the format that its name ends with; ".jpg" where it has no extension.

    Raises:
        DataError: there is no such format, or the file cannot be written.
    """
    kind = path.suffix if path.suffix else ".jpg"
    try:
        ok, data = cv2.imencode(kind, image)
    except cv2.error:
        ok = False
    if not ok:
        raise DataError(f"{path}: cannot write a picture of {image.shape[1]} x {image.shape[0]} pixels as {kind}",
                        Reason.UNSUPPORTED)
    write_file(path, data.tobytes())


def _show_with_matplotlib(image: np.ndarray, title: str) -> bool:
    """False where Matplotlib has no window."""
    import matplotlib.pyplot as plt
    figure = plt.figure(printable(title))
    try:
        if getattr(figure.canvas, "required_interactive_framework", None) is None:
            return False
        axes = figure.add_axes((0, 0, 1, 1))
        axes.imshow(image[..., ::-1])
        axes.set_axis_off()
        plt.show(block=True)
        return True
    finally:
        plt.close(figure)
