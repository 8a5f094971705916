"""What C's verbs for maintenance write and print.

    python verbs.py DARKNET PJREDDIE        # makes verbs.npz

with programs built from AlexeyAB/darknet at 59596d78 and from pjreddie/darknet, whose reset and denormalize are sound
and which alone has oneoff2. Weights are ``kit.values(seed, 0, count, .5, 1)`` after a header, one file a seed.
"""
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import kit
import numpy as np

NET = "[net]\nbatch=1\nwidth={0}\nheight={0}\nchannels={1}\n"
PLAIN = NET.format(6, 3) + """[convolutional]
filters=4
size=3
stride=2
pad=1
activation=leaky
[convolutional]
filters=3
activation=linear
[connected]
output=5
activation=linear
"""
NORMALIZED = PLAIN.replace("filters=4\n", "filters=4\nbatch_normalize=1\n")
MEMORY = NET.format(2, 1) + """[convolutional]
size=2
activation=linear
[connected]
output=5
batch_normalize=1
activation=linear
[gru]
output=3
batch_normalize=1
[lstm]
output=2
batch_normalize=1
"""
TWICE = NET.format(4, 3) + 2 * ("[convolutional]\nfilters=4\nactivation=linear\n"
                                "[convolutional]\nfilters=3\nactivation=linear\n")
TREE = NET.format(2, 1) + "[convolutional]\nfilters=28131\nactivation=linear\n" \
    "[region]\nclasses=9372\nnum=3\ncoords=4\nanchors=1,1,2,2,3,3\n"
COUNTED = NORMALIZED + "[rnn]\noutput=4\nhidden=3\nactivation=leaky\n[lstm]\noutput=2\n"
ROWS = [*range(5, 9377, 401)]           # of TREE's filters, whose first five C leaves to chance


class Case(NamedTuple):
    """program: which of the two. words: after the verb, with W for the weights files. count: of their numbers."""

    program: int
    words: str
    cfg: str
    count: int = 0
    seeds: tuple[int, ...] = (1,)


CASES = {
    "average": Case(0, "average net.cfg out W", NORMALIZED, 279, (1, 2, 3)),
    "rgbgr": Case(0, "rgbgr net.cfg W out", PLAIN, 267),
    "rescale": Case(0, "rescale net.cfg W out", PLAIN, 267),
    "reset": Case(1, "reset net.cfg W out", NORMALIZED, 279),
    "denormalize": Case(1, "denormalize net.cfg W out", NORMALIZED, 279),
    "normalize": Case(0, "normalize net.cfg W out", PLAIN, 267),
    "oneoff": Case(0, "oneoff net.cfg W out", TREE, 2 * 9372),
    "oneoff2": Case(1, "oneoff2 net.cfg W out 2", TWICE, 31),
    "reset_memory": Case(0, "reset net.cfg W out", MEMORY, 278),
    "statistics": Case(0, "statistics net.cfg W", MEMORY, 278),
    "ops": Case(0, "ops net.cfg", COUNTED),
}


def write_inputs(case: Case, folder: Path) -> list[str]:
    """net.cfg and the weights files; the words with the files' names."""
    (folder / "net.cfg").write_text(case.cfg)
    files = [f"{seed}.weights" for seed in case.seeds]
    for name, seed in zip(files, case.seeds):
        (folder / name).write_bytes(struct.pack("<iiiQ", 0, 2, 5, 6400) +
                                    kit.values(seed, 0, case.count, .5, 1).tobytes())
    return case.words.replace("W", " ".join(files)).split()


def numbers(name: str, path: Path) -> np.ndarray:
    """What is kept of a file."""
    found = np.fromfile(path, "<f4", offset=20)
    return found.reshape(2, 3, 9377)[:, :, ROWS] if name == "oneoff" else found


if __name__ == "__main__":
    arrays = {}
    for name, case in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            words = write_inputs(case, Path(folder))
            text = subprocess.run([sys.argv[1 + case.program], *words], cwd=folder, check=True, capture_output=True,
                                  text=True).stdout
            out = Path(folder, "out")
            arrays[name] = numbers(name, out) if out.exists() else np.array(text.splitlines())
    np.savez_compressed(Path(__file__).with_suffix(".npz"), **arrays)
