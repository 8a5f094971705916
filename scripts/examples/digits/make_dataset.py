"""Make a data set of digits as they stand on meters, plates, tags, jerseys and signs, in the fonts that are there.

    python scripts/examples/digits/make_dataset.py FOLDER [--train 8000] [--valid 500] [--photos N] [--seed 1]
                                                   [--side N] [--fonts [FOLDER...]]

Writes FOLDER/{train,valid}/00001.jpg with their label files, the lists, digits.names and digits.data. Each picture
depends on the seed and its own number alone. Fonts are those of matplotlib and of the system's font folders whose ten
digits look like digits; every 8th family is kept for the valid pictures, which have no other. Boxes are tight around
the digits' ink, after all warping. --photos adds pictures to train on that stand on photographs, a quarter of them
without digits, which teaches what is none. --side makes larger pictures, which have more digits, down to the same size.
"""
from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from drawing.artist import Artist
from drawing.backgrounds import background, find_photos, part_of, read_photo
from drawing.camera import light, place
from drawing.fonts import DIGITS, Font, find_fonts, shared_out
from drawing.panels import Box
from drawing.things import KINDS, LEAST, ticks, words
from numpy.random import Generator

LONG = (320, 416)       # the pictures' longer side
SPLITS = ("train", "valid")


def render(rng: Generator, families: list[list[Font]], photos: Sequence[Path] = (), side: int | None = None,
           ) -> tuple[np.ndarray, list[tuple[int, Box]]]:
    """A picture, uint8 (H, W, 3) BGR, and its digits with their boxes x1, y1, x2, y2 in pixels.

    On a photograph it has more 1s, which are the hardest to find, or no digits at all, and perhaps strokes like 1s.

    side: of the picture, the longer one; None draws it from ``LONG``.
    """
    artist = Artist(rng, families, "0112345678901" if photos else DIGITS)
    size = np.array((1, rng.uniform(.6, 1))) * (rng.integers(*LONG, endpoint=True) if side is None else side)
    width, height = (int(side) for side in (size if artist.chance(.65) else size[::-1]))
    image = part_of(read_photo(artist.one(photos)), artist, height, width) if photos else \
        background(artist, height, width)
    taken: list[Box] = []
    digits: list[tuple[int, Box]] = []
    kinds, odds = list(KINDS), list(KINDS.values())
    wanted, large = int(rng.integers(1, 6)), artist.chance(.2)
    if side is not None:
        wanted *= max(1, side // LONG[0]) ** 2
    if photos:
        wanted *= not artist.chance(.25)
        if artist.chance(.25):
            place(artist, image, ticks(artist, rng.uniform(20, 80), np.zeros(3)), taken)
    for number in range(wanted + 2):
        if number >= wanted and not (artist.chance(.6) and taken):
            break
        # Large ones first, or they find no room.
        most = .85 * height if number == 0 and artist.chance(.55) else .4 * height if number < 2 else .18 * height
        tall = LEAST * (max(most, 30) / LEAST) ** rng.random()
        if large and number == 0:
            tall = height * rng.uniform(.3, .95)
        make = words if number >= wanted else kinds[rng.choice(len(kinds), p=odds)]
        spot = image[height // 3:height * 2 // 3, width // 3:width * 2 // 3].mean((0, 1))
        digits += place(artist, image, make(artist, tall * 1.15, spot), taken, 1 / 1.15) or []
    least = min((box[3] - box[1] for _, box in digits), default=20)
    return light(artist, image, least), digits


def write_picture(folder: Path, split: str, families: list[list[Font]], seed: int, photos: Sequence[Path], plain: int,
                  side: int | None, number: int) -> int:
    """A picture with its label file, from number plain on with a photograph; how many digits it has."""
    cv2.setNumThreads(1)
    rng = np.random.default_rng((seed, SPLITS.index(split), number))
    image, digits = render(rng, families, photos if number >= plain else (), side)
    quality = int(rng.integers(35, 96))
    path = folder / split / f"{number:05d}.jpg"
    cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tofile(path)
    height, width = image.shape[:2]
    path.with_suffix(".txt").write_text("".join(
        f"{label} {(x1 + x2) / 2 / width:.6f} {(y1 + y2) / 2 / height:.6f} {(x2 - x1) / width:.6f} "
        f"{(y2 - y1) / height:.6f}\n" for label, (x1, y1, x2, y2) in digits))
    return len(digits)


def make(folder: Path, train: int, valid: int, seed: int, fonts: list[Font], processes: int, more: int = 0,
         side: int | None = None) -> None:
    photos = find_photos()
    for split, plain, count in zip(SPLITS, (train, valid), (train + more, valid), strict=True):
        (folder / split).mkdir(parents=True, exist_ok=True)
        families = shared_out(fonts, split)
        work = partial(write_picture, folder, split, families, seed, photos, plain, side)
        if processes > 1:
            with ProcessPoolExecutor(processes) as pool:
                digits = sum(pool.map(work, range(count), chunksize=8))
        else:
            digits = sum(map(work, range(count)))
        (folder / f"{split}.txt").write_text("".join(f"{split}/{number:05d}.jpg\n" for number in range(count)))
        print(f"{folder}/{split}: {count} pictures, {digits} digits, {sum(map(len, families))} fonts of "
              f"{len(families)} families", flush=True)
    (folder / "digits.names").write_text("".join(f"{digit}\n" for digit in DIGITS))
    (folder / "digits.data").write_text("classes = 10\ntrain = train.txt\nvalid = valid.txt\nnames = digits.names\n"
                                        "backup = backup\n")


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--train", type=int, default=8000, help="pictures to train on")
    parser.add_argument("--valid", type=int, default=500, help="pictures to validate on, in fonts that train has not")
    parser.add_argument("--photos", type=int, default=0, help="more pictures to train on, with photographs behind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--side", type=int, metavar="N", help="the pictures' longer side (default: 320 to 416 pixels)")
    parser.add_argument("--fonts", nargs="*", metavar="FOLDER", help="not the system's; none: matplotlib's alone")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="any number makes the same pictures")
    given = parser.parse_args(words)
    make(given.folder, given.train, given.valid, given.seed, find_fonts(given.fonts), given.processes,
         given.photos, given.side)
    return 0


if __name__ == "__main__":
    sys.exit(main())
