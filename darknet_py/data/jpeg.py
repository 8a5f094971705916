"""What libjpeg says of the data of JPEG files that it reads all the same, and how their cameras were held.

libjpeg writes to the descriptor of standard error, which is the whole process's: so a process of its own decodes.
"""
from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

EXIF_ORIENTATION = 0x0112       # a tag: 1 for upright pictures
MOST_LETTERS = 100              # of a message


def orientation(path: Path) -> int:
    """The EXIF orientation of a picture, 1 (upright) to 8; 1 where it has none."""
    from PIL import Image
    try:
        with Image.open(path) as image:
            found = image.getexif().get(EXIF_ORIENTATION, 1)
    except Exception:           # of many kinds, for what Pillow does not read
        return 1
    return found if found in range(1, 9) else 1


def jpeg_warnings(paths: Sequence[Path]) -> list[str]:
    """libjpeg's first warning for each file, or "". Only for pictures that are known to be decoded."""
    if not paths:
        return []
    names = b"\0".join(os.fsencode(path) for path in paths)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONSAFEPATH": "1"}
    done = subprocess.run([sys.executable, "-m", "darknet_py.data.jpeg"], input=names, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, env=environment, check=False)
    said = done.stdout.decode("ascii", "replace").split("\n")[:-1]
    return said + [""] * (len(paths) - len(said))


def _main() -> None:
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        for path in sys.stdin.buffer.read().split(b"\0"):
            begin = said.seek(0, os.SEEK_END)
            # the coefficients are all decoded, and few pixels computed
            cv2.imdecode(np.fromfile(os.fsdecode(path), np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_8)
            said.seek(begin)
            line = said.readline().decode("ascii", "replace").strip()[:MOST_LETTERS]
            sys.stdout.buffer.write("".join(filter(str.isprintable, line)).encode("ascii", "replace") + b"\n")


if __name__ == "__main__":
    _main()
