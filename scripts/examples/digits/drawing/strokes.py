"""Digits drawn without a font: seven-segment displays, and handwriting."""
from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.random import Generator

from .fonts import DIGITS, Font, Glyph


class Segments(NamedTuple):
    """A seven-segment display: the bars' thickness and gaps and the digits' width in heights, and the slant."""

    thick: float
    gap: float
    wide: float
    slant: float
    lit: tuple[str, ...] = ("abcdef", "bc", "abdeg", "abcdg", "bcfg", "acdfg", "acdefg", "abc", "abcdefg", "abcdfg")

    def glyph(self, character: str, height: float, bars: str | None = None) -> Glyph:
        """A digit, a dot or a colon; anything else is empty. bars lights others."""
        fine, high = 4, round(height)
        width = max(3, round(height * self.wide))
        lean = abs(self.slant) * height
        ink = np.zeros((high * fine, round((width + lean) * fine)), np.uint8)
        half, gap = self.thick * height / 2, self.gap * height
        left, right, low, middle = half, width - half, high - half, high / 2

        def bar(x1: float, y1: float, x2: float, y2: float) -> None:
            along = np.array((x2 - x1, y2 - y1)) / max(np.hypot(x2 - x1, y2 - y1), 1e-6)
            across = np.array((-along[1], along[0])) * half
            start, end = np.array((x1, y1)) + along * gap, np.array((x2, y2)) - along * gap
            points = np.stack([start, start + along * half + across, end - along * half + across, end,
                               end - along * half - across, start + along * half - across])
            points[:, 0] += (high - points[:, 1]) * self.slant + max(-self.slant, 0) * height
            cv2.fillPoly(ink, [np.rint(points * fine).astype(np.int32)], 255)

        bars = bars or (self.lit[int(character)] if character in DIGITS else "")
        for name, ends in {"a": (left, half, right, half), "b": (right, half, right, middle),
                           "c": (right, middle, right, low), "d": (left, low, right, low),
                           "e": (left, middle, left, low), "f": (left, half, left, middle),
                           "g": (left, middle, right, middle)}.items():
            if name in bars:
                bar(*ends)
        if character in ".:":
            for y in (low,) if character == "." else (high * .3, high * .7):
                cv2.circle(ink, (round(half * fine), round(y * fine)), round(half * fine), 255, -1)
        shrunk = cv2.resize(ink, (max(1, ink.shape[1] // fine), high), interpolation=cv2.INTER_AREA)
        advance = width * 1.28 if character not in ".:" else height * (self.thick + .1)
        return Glyph(shrunk.astype(np.float32) / 255, 0, 0, advance)


class Strokes(NamedTuple):
    """A hand: how far its points stray, the pen's width in heights, the digits' width, the slant; another each time."""

    rng: Generator
    stray: float
    thick: float
    wide: float
    slant: float

    def glyph(self, character: str, height: float) -> Glyph:
        """A digit; anything else is empty."""
        fine, pen = 4, max(1.2, self.thick * height)
        room = round(1.6 * height)
        ink = np.zeros((room * fine, room * fine), np.uint8)
        for stroke in SKELETONS[int(character)].split("|") if character in DIGITS else ():
            points = np.float32([(int(x), int(y)) for x, y in stroke.split()]) / (4, 6)
            points += self.rng.normal(0, self.stray, points.shape)
            for _ in range(3):      # Chaikin's corner cutting; a point given twice stays a corner
                cut = np.stack((.75 * points[:-1] + .25 * points[1:], .25 * points[:-1] + .75 * points[1:]), 1)
                points = np.concatenate((points[:1], cut.reshape(-1, 2), points[-1:]))
            points[:, 0] = points[:, 0] * self.wide + (1 - points[:, 1]) * self.slant
            points = (points * (height - pen) + .3 * height) * fine
            cv2.polylines(ink, [np.rint(points).astype(np.int32)], False, 255, round(pen * fine), cv2.LINE_AA)
        shrunk = cv2.resize(ink, (room, room), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        ys, xs = (np.flatnonzero((shrunk > 0).any(axis)) for axis in (1, 0))
        if not len(ys):
            return Glyph(shrunk[:0, :0], 0, 0, height / 2)
        width = xs[-1] - xs[0] + 1
        return Glyph(shrunk[ys[0]:ys[-1] + 1, xs[0]:xs[-1] + 1], 0, int(ys[0] - .3 * height), width + .15 * height)


# Strokes on a grid of 4 x 6: x and y of each point.
SKELETONS = ("20 10 02 04 16 36 44 42 30 20", "12 12 20 20 26", "01 10 30 41 42 24 06 06 46",
             "01 10 30 41 42 33 13 13|13 33 44 45 36 16 05", "30 30 04 04 44|32 32 36",
             "40 00 00 02 02 32 43 45 36 16 05", "40 20 02 05 16 36 45 44 33 13 04", "00 40 40 22 16",
             "23 12 01 10 30 41 32 23 14 05 16 36 45 34 23", "42 33 13 02 01 10 30 41 42 26")

Face = Font | Segments | Strokes
