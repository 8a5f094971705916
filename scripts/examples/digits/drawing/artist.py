"""Random choices of one picture: texts, fonts, colours that can be read, surfaces."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator

from .fonts import DIGITS, Font
from .panels import Colour, Style
from .strokes import Face, Segments, Strokes

LETTERS = "ACEFHJKLMNPRTUVWXYBDGSZacdefhkmnrstuvwxyz"      # none that is a digit in some font: O, I, l, b, q ...
SIGNS = "$%#&?!+-/:.,="


class Artist:
    """Random choices of one picture."""

    def __init__(self, rng: Generator, families: list[list[Font]], digits: str = DIGITS) -> None:
        self.rng, self.families, self.digits = rng, families, digits

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def one(self, of: Sequence) -> Any:
        return of[int(self.rng.integers(len(of)))]

    def font(self) -> Font:
        return self.one(self.one(self.families))

    def segments(self) -> Segments:
        rng = self.rng
        return Segments(rng.uniform(.09, .18), rng.uniform(.002, .03), rng.uniform(.42, .68),
                        rng.uniform(0, .16) if self.chance(.6) else 0)

    def face(self) -> Face:
        rng, kind = self.rng, self.rng.random()
        if kind < .06:
            return Strokes(rng, rng.uniform(.01, .05), rng.uniform(.05, .15), rng.uniform(.4, .75), rng.normal(0, .08))
        return self.segments() if kind < .1 else self.font()

    def number(self, low: int = 1, high: int = 5) -> str:
        return "".join(self.rng.choice(list(self.digits), int(self.rng.integers(low, high + 1))))

    def word(self, low: int = 1, high: int = 7) -> str:
        count = int(self.rng.integers(low, high + 1))
        letters = LETTERS[:23] if self.chance(.6) else LETTERS
        return "".join(self.rng.choice(list(letters + (SIGNS if self.chance(.2) else "")), count))

    def colour(self) -> Colour:
        """Any, with greys and pure ones more often than chance has it."""
        kind, rng = self.rng.random(), self.rng
        if kind < .35:
            return np.clip(rng.choice((15, 40, 90, 160, 215, 245)) + rng.normal(0, 10, 3), 0, 255).astype(np.float32)
        hsv = np.uint8([[[rng.integers(180), rng.integers(60, 256), rng.integers(50, 256)]]])
        return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0, 0].astype(np.float32)

    def against(self, paper: Colour, least: float | None = None) -> Colour:
        """A colour that can be read on another."""
        least = self.rng.choice((45, 80, 120)) if least is None else least
        for _ in range(40):
            colour = self.colour()
            if abs(luma(colour) - luma(paper)) >= least:
                return colour
        return np.full(3, 10 if luma(paper) > 128 else 245, np.float32)

    def style(self, paper: Colour) -> Style:
        ink = self.against(paper)
        kind = self.rng.random()
        second = self.against(paper) if self.chance(.1) else None
        if kind < .6:
            return Style(ink, second, shadow=self.rng.uniform(.3, .8) if self.chance(.1) else 0)
        if kind < .75:
            return Style(ink, second, self.against(ink, 60), self.rng.uniform(.03, .14))
        if kind < .87:
            return Style(ink, second, shadow=self.rng.uniform(.3, .9), thick=self.rng.uniform(.04, .12))
        return Style(ink if self.chance(.7) else paper * .85 + ink * .15, relief=self.rng.uniform(.4, 1))

    def texture(self, height: int, width: int, base: Colour, strength: float) -> np.ndarray:
        """A surface (H, W, 3): noise of some coarseness over a colour."""
        cells = self.rng.choice((2, 4, 9, 24, 70))
        grid = self.rng.normal(0, strength, (max(2, height * cells // 160), max(2, width * cells // 160),
                                             3 if self.chance(.3) else 1)).astype(np.float32)
        if self.chance(.25):        # grain: wood, brushed metal, cloth
            grid = grid[:, :2] if self.chance(.5) else grid[:2]
        noise = cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
        return (base + noise.reshape(height, width, -1)).clip(0, 255).astype(np.float32)


def luma(colour: np.ndarray) -> float:
    return float(colour @ np.float32((.114, .587, .299)))
