"""Panels: flat things that are painted and written on, and keep which digit is where."""
from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

from .fonts import DIGITS, Glyph
from .strokes import Face

Colour = np.ndarray     # (3,) in [0, 255]
Box = tuple[int, int, int, int]


class Panel:
    """Something flat with digits on it: colour (H, W, 3) multiplied by alpha (H, W), and which digit is where."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = max(8, round(width)), max(8, round(height))
        self.colour = np.zeros((self.height, self.width, 3), np.float32)
        self.alpha = np.zeros((self.height, self.width), np.float32)
        self.digits = np.zeros((self.height, self.width), np.uint8)     # 1 + index into labels
        self.labels: list[int] = []

    def paint(self, mask: np.ndarray, colour: np.ndarray) -> None:
        """Cover by a mask (H, W) in [0, 1] with a colour (3,) or (H, W, 3)."""
        self.colour += mask[..., None] * (colour - self.colour)
        self.alpha += mask * (1 - self.alpha)

    def shape(self, draw: Callable[[np.ndarray], object], colour: np.ndarray) -> np.ndarray:
        mask = np.zeros((self.height, self.width), np.uint8)
        draw(mask)
        mask = mask.astype(np.float32) / 255
        self.paint(mask, colour)
        return mask

    def rounded(self, box: Box, radius: float, colour: np.ndarray) -> np.ndarray:
        x1, y1, x2, y2 = box
        radius = int(min(radius, (x2 - x1) // 2, (y2 - y1) // 2))

        def draw(mask: np.ndarray) -> None:
            cv2.rectangle(mask, (x1 + radius, y1), (x2 - radius - 1, y2 - 1), 255, -1)
            cv2.rectangle(mask, (x1, y1 + radius), (x2 - 1, y2 - radius - 1), 255, -1)
            for x in (x1 + radius, x2 - radius - 1):
                for y in (y1 + radius, y2 - radius - 1):
                    cv2.circle(mask, (x, y), radius, 255, -1, cv2.LINE_AA)
        return self.shape(draw, colour)

    def write(self, line: Line, x: float, y: float, style: Style) -> None:
        """Put a line's top left corner at (x, y)."""
        ink = np.zeros((self.height, self.width), np.float32)
        for character, glyph, left in line.glyphs:
            top, start = round(y + glyph.y - line.top), round(x + left + glyph.x)
            high, wide = glyph.ink.shape
            y1, x1, y2, x2 = max(top, 0), max(start, 0), min(top + high, self.height), min(start + wide, self.width)
            if y1 >= y2 or x1 >= x2:
                continue
            part = glyph.ink[y1 - top:y2 - top, x1 - start:x2 - start]
            ink[y1:y2, x1:x2] = np.maximum(ink[y1:y2, x1:x2], part)
            if character in DIGITS and len(self.labels) < 255:
                self.labels.append(int(character))
                area = self.digits[y1:y2, x1:x2]
                area[part > .35] = len(self.labels)
        style.apply(self, ink, line.height)


class Line:
    """A text laid out: glyphs with their left ends, the width, and the height of its digits."""

    def __init__(self, text: str, face: Face, height: float, tracking: float = 0) -> None:
        self.glyphs: list[tuple[str, Glyph, float]] = []
        left = 0.
        for character in text:
            glyph = face.glyph(character, height)
            self.glyphs.append((character, glyph, left))
            left += glyph.advance + tracking * height
        inked = [(glyph, left) for _, glyph, left in self.glyphs if glyph.ink.size]
        self.top = min((glyph.y for glyph, _ in inked), default=0)
        self.height = max((glyph.y + glyph.ink.shape[0] for glyph, _ in inked), default=1) - self.top
        self.width = max((left + glyph.x + glyph.ink.shape[1] for glyph, left in inked), default=1)


class Style(NamedTuple):
    """How ink becomes paint."""

    colour: Colour
    second: Colour | None = None        # at the bottom
    outline: Colour | None = None
    thick: float = .08                  # of the outline, in heights
    shadow: float = 0
    relief: float = 0
    glow: float = 0

    def apply(self, panel: Panel, ink: np.ndarray, height: float) -> None:
        if self.shadow:
            shift = height * self.thick
            moved = cv2.warpAffine(ink, np.float32([[1, 0, shift], [0, 1, shift]]), ink.shape[::-1])
            panel.paint(self.shadow * cv2.GaussianBlur(moved, (0, 0), .5 + shift / 2), np.zeros(3))
        if self.glow:
            panel.paint((self.glow * cv2.GaussianBlur(ink, (0, 0), .5 + height / 8)).clip(0, 1), self.colour)
        if self.outline is not None:
            side = 2 * max(1, round(height * self.thick)) + 1
            panel.paint(cv2.dilate(ink, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))), self.outline)
        colour: np.ndarray = self.colour
        if self.second is not None:
            part = np.linspace(0, 1, panel.height, dtype=np.float32)[:, None, None]
            colour = self.colour * (1 - part) + self.second * part + np.zeros((1, panel.width, 1), np.float32)
        if self.relief:
            slope = cv2.GaussianBlur(ink, (0, 0), max(.6, height / 30))
            slope = np.roll(slope, 1, (0, 1)) - np.roll(slope, -1, (0, 1))
            colour = (colour - (255 * self.relief * slope)[..., None]).clip(0, 255)
            edge = np.where(slope > 0, 30, 230)[..., None] + np.zeros(3)
            panel.paint((abs(slope) * 1.5).clip(0, 1) * (1 - ink), edge)
        panel.paint(ink, colour)
