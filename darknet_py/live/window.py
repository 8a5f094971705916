"""A window that shows frames, where OpenCV has one."""
from __future__ import annotations

import cv2
import numpy as np

ENTER, ESCAPE = (10, 13), 27
SKIPS = {0: 60, 60: 4}              # what Enter makes of the number of frames to skip; of all others 0


class Window:
    """The window of a source; made with the first picture, in the thread that shows.

    Args:
        skip: see below, to begin with.
        number: of the source, if there are several.

    Attributes:
        skip: frames to skip, which Enter changes: 0, 60, 4, 0 ...
        closed: Escape was pressed, or the window closed.

    Darknet: the keys in demo(), create_window_cv.
    """

    TITLE = "Demo"

    def __init__(self, skip: int, number: int | None = None):
        self.title = self.TITLE if number is None else f"{self.TITLE} {number}"
        self.skip, self.closed, self._open = skip, False, False

    def show(self, image: np.ndarray) -> None:
        """Show (H, W, 3) BGR uint8, and take a key."""
        if not self._open:
            cv2.namedWindow(self.title, cv2.WINDOW_NORMAL)
            cv2.resizeWindow(self.title, image.shape[1], image.shape[0])
            self._open = True
        cv2.imshow(self.title, image)
        key = cv2.waitKey(1) & 255
        if key in ENTER:
            self.skip = SKIPS.get(self.skip, 0)
        self.closed |= key == ESCAPE or cv2.getWindowProperty(self.title, cv2.WND_PROP_VISIBLE) < 1

    def close(self) -> None:
        if self._open:
            cv2.destroyWindow(self.title)
