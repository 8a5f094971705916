"""Make a data set of digits as they stand on meters, plates, tags, jerseys and signs, in the fonts that are there.

    python scripts/examples/digits/make_dataset.py FOLDER [--train 8000] [--valid 500] [--photos N] [--seed 1]
                                                   [--fonts [FOLDER...]]

Writes FOLDER/{train,valid}/00001.jpg with their label files, the lists, digits.names and digits.data. Each picture
depends on the seed and its own number alone. Fonts are those of matplotlib and of the system's font folders whose ten
digits look like digits; every 8th family is kept for the valid pictures, which have no other. Boxes are tight around
the digits' ink, after all warping. --photos adds pictures to train on that stand on photographs, a quarter of them
without digits, which teaches what is none.
"""
from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import zlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import matplotlib
import numpy as np
from numpy.random import Generator
from PIL import ImageFont

SYSTEM = ("/usr/share/fonts", "/usr/local/share/fonts", "~/.fonts", "~/.local/share/fonts", "/Library/Fonts",
          "C:/Windows/Fonts")
OWN = Path(matplotlib.get_data_path()) / "fonts/ttf"
PHOTOS = (              # without digits, where an import or a Debian package brings them
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"), ("sklearn", "datasets/images/china.jpg"),
    ("sklearn", "datasets/images/flower.jpg"), *(("skimage", f"data/{name}") for name in (
        "astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "grass.png", "gravel.png",
        "hubble_deep_field.jpg", "ihc.png", "motorcycle_left.png", "rocket.jpg")),
    *((None, f"/usr/share/backgrounds/mate/nature/{name}.jpg") for name in (
        "Aqua", "Blinds", "Dune", "FreshFlower", "Garden", "GreenMeadow", "LadyBird", "RainDrops", "Storm", "TwoWings",
        "Wood", "YellowFlower")))
DIGITS = "0123456789"
LETTERS = "ACEFHJKLMNPRTUVWXYBDGSZacdefhkmnrstuvwxyz"      # none that is a digit in some font: O, I, l, b, q ...
SIGNS = "$%#&?!+-/:.,="
HELD_OUT = 8            # every so many families of fonts are for the valid pictures alone
LONG = (320, 416)       # the pictures' longer side
LEAST = 17              # the least height of a digit, in pixels
TURN = 28               # degrees: 6 and 9 stay apart
SPLITS = ("train", "valid")
Colour = np.ndarray     # (3,) in [0, 255]
Box = tuple[int, int, int, int]


class Glyph(NamedTuple):
    """The ink of a character, (H, W) in [0, 1], where it goes from the line's top left corner, and how far to go on."""

    ink: np.ndarray
    x: int
    y: int
    advance: float


class Font(NamedTuple):
    """A font file; heights are those of its 8."""

    path: str
    family: str

    def glyph(self, character: str, height: float) -> Glyph:
        return _glyph(self.path, character, max(4, round(height * _em(self.path))))


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


@lru_cache(4096)
def _glyph(path: str, character: str, size: int) -> Glyph:
    font = _font(path, size)
    mask, (x, y) = font.getmask2(character, mode="L")
    ink = np.array(mask, np.float32).reshape(mask.size[::-1]) / 255
    return Glyph(ink, x, y, font.getlength(character))


@lru_cache(64)
def _font(path: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(None)
def _em(path: str) -> float:
    """The size for an 8 of one pixel."""
    return 100 / max(_glyph(path, "8", 100).ink.shape[0], 1)


def portrait(path: str, wide: float = 1) -> np.ndarray | None:
    """The ten digits in (10, 32 * 32) each of mean 0 and length 1; nothing if one is empty or two are the same."""
    rows = []
    for digit in DIGITS:
        ink = _glyph(path, digit, 64).ink
        if ink.size == 0 or not (ink > .5).any():
            return None
        ys, xs = (np.flatnonzero((ink > .5).any(axis)) for axis in (1, 0))
        ink = ink[ys[0]:ys[-1] + 1, xs[0]:xs[-1] + 1]
        width = min(32, max(2, round(32 * wide * ink.shape[1] / ink.shape[0])))
        row = np.zeros((32, 32), np.float32)
        row[:, (32 - width) // 2:(32 - width) // 2 + width] = cv2.resize(ink, (width, 32), interpolation=cv2.INTER_AREA)
        row = cv2.GaussianBlur(row, (0, 0), 1.5)
        rows.append((row - row.mean()).ravel() / max(np.linalg.norm(row - row.mean()), 1e-6))
    portrait = np.stack(rows)
    return None if (portrait @ portrait.T - 2 * np.eye(10)).max() > .995 else portrait


def find_fonts(folders: Sequence[str | Path] | None = None) -> list[Font]:
    """Fonts whose ten digits are different and most of which look like those of a plain font, sorted."""
    folders = [OWN, *map(Path, SYSTEM)] if folders is None else [OWN, *map(Path, folders)]
    paths = sorted({path for folder in folders for path in folder.expanduser().rglob("*")
                    if path.suffix.lower() in (".ttf", ".otf", ".ttc")})
    patterns = [portrait(str(OWN / f"{name}.ttf"), wide) for name in ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSerif",
                                                                      "DejaVuSansMono") for wide in (.6, 1)]
    fonts = {}
    for path in paths:
        try:
            seen, family = portrait(str(path)), _font(str(path), 64).getname()[0] or path.stem
        except (OSError, ValueError):
            continue
        if seen is None:
            continue
        likeness = np.max([seen @ one.T for one in patterns], 0)       # (10, 10)
        if (likeness.argmax(1) == np.arange(10)).sum() >= 7 and np.diag(likeness).mean() >= .55:
            fonts.setdefault(path.name, Font(str(path), family))
    return [fonts[name] for name in sorted(fonts)]


def shared_out(fonts: list[Font], split: str) -> list[list[Font]]:
    """The families of a split; where so few fonts are there that one split has none, all are in both."""
    families = defaultdict(list)
    for font in fonts:
        families[font.family].append(font)
    held = {name for name in families if zlib.crc32(name.encode()) % HELD_OUT == 0}
    mine = {name for name in families if (name in held) == (split == "valid")}
    return [families[name] for name in sorted(mine or families)]


def find_photos() -> list[Path]:
    """Those of PHOTOS that are there."""
    places = []
    for package, name in PHOTOS:
        spec = importlib.util.find_spec(package) if package is not None else None
        if package is None or spec is not None:
            places.append(Path(name) if spec is None else Path(spec.submodule_search_locations[0]) / name)
    return [path for path in places if path.is_file()]


@lru_cache(None)
def _photo(path: Path) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    scale = min(1, 1280 / max(image.shape))
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


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


def plain(artist: Artist, height: float, paper: Colour) -> Panel:
    """Digits painted right on what is behind."""
    text = artist.number(1, 5)
    if artist.chance(.15):
        text = artist.word(1, 4) + text
    if artist.chance(.15):
        text += artist.one(SIGNS) + artist.number(1, 2)
    line = Line(text, artist.face(), height, artist.rng.uniform(-.02, .3))
    margin = .2 * height
    panel = Panel(line.width + 2 * margin, line.height + 2 * margin)
    panel.write(line, margin, margin, artist.style(paper))
    return panel


def board(artist: Artist, height: float, paper: Colour) -> Panel:
    """A number plate, a house number, a price tag, a sign: lines of text on something with a border."""
    rng = artist.rng
    kind = rng.choice(("plate", "house", "tag", "sign", "paper"))
    face = artist.face()
    main = {"plate": lambda: artist.word(0, 3) + artist.one(("", "-", " ")) + artist.number(2, 5)
            + (artist.word(0, 2) if artist.chance(.3) else ""),
            "house": lambda: artist.number(1, 3) + (artist.one("ABCabc") if artist.chance(.12) else ""),
            "tag": lambda: artist.one(("", "$", "")) + artist.number(1, 3) + artist.one((".", ",", "-"))
            + artist.number(0 if artist.chance(.3) else 2, 2),
            "sign": lambda: artist.number(1, 3),
            "paper": lambda: " ".join(artist.number(1, 4) for _ in range(rng.integers(1, 4)))}[kind]()
    lines = [Line(main, face, height, rng.uniform(0, .15))]
    if artist.chance(.35):
        small = height * rng.uniform(.4, .9)
        text = artist.word(3, 8) if artist.chance(.6) or small < LEAST else artist.number(2, 6)
        lines.insert(int(rng.integers(2)), Line(text, artist.font(), small, .05))
    pad, gap = height * rng.uniform(.2, .7), height * .3
    width = max(line.width for line in lines) + 2 * pad
    high = sum(line.height + gap for line in lines) - gap + 2 * pad
    oval = kind in ("house", "sign") and artist.chance(.4)
    if oval:
        width, high = width * 1.3, high * 1.3
        if artist.chance(.5):
            width = high = max(width, high)
    panel = Panel(width, high)
    ground = artist.colour() if artist.chance(.5) else np.float32(rng.uniform(200, 250, 3) if artist.chance(.7)
                                                                  else rng.uniform(10, 60, 3))
    surface = artist.texture(panel.height, panel.width, ground, rng.uniform(0, 12))
    edge = max(1, round(height * rng.uniform(.04, .14)))
    border = artist.against(ground, 50) if artist.chance(.6) else ground
    box = (0, 0, panel.width, panel.height)
    if oval:
        centre, axes = (panel.width // 2, panel.height // 2), np.array((panel.width, panel.height)) // 2 - 1
        for inset, colour in ((0, border), (edge, surface)):
            size = tuple(int(max(1, side - inset)) for side in axes)
            panel.shape(lambda mask, size=size: cv2.ellipse(mask, centre, size, 0, 0, 360, 255, -1, cv2.LINE_AA),
                        colour)
    else:
        radius = height * rng.uniform(0, .4)
        panel.rounded(box, radius, border)
        inset = int(artist.chance(.3)) * edge
        panel.rounded((edge + inset, edge + inset, panel.width - edge - inset, panel.height - edge - inset), radius,
                      surface)
        if kind == "plate" and artist.chance(.4):
            band = round(pad * .8)
            panel.rounded((edge, edge, edge + band, panel.height - edge), 0, artist.colour())
        if kind in ("plate", "tag", "house") and artist.chance(.5):     # screws, a hole
            dot = max(1, round(height * .06))
            for x in (round(pad / 2), panel.width - round(pad / 2)):
                panel.shape(lambda mask, x=x: cv2.circle(mask, (x, panel.height // 2), dot, 255, -1, cv2.LINE_AA),
                            artist.colour())
    y, style = (panel.height - high + 2 * pad) / 2 if not oval else (panel.height - high / 1.3 + 2 * pad) / 2, None
    for line in lines:
        style = artist.style(ground) if style is None or artist.chance(.4) else style
        panel.write(line, (panel.width - line.width) / 2, y, style)
        y += line.height + gap
    return panel


def meter(artist: Artist, height: float, paper: Colour) -> Panel:
    """A counter's windows, each with its own drum, perhaps between two digits."""
    rng = artist.rng
    count, font = int(rng.integers(3, 8)), artist.font()
    wide, high, gap = height * rng.uniform(.95, 1.5), height * rng.uniform(1.3, 1.9), height * rng.uniform(.05, .3)
    edge = height * rng.uniform(.1, .5)
    panel = Panel(count * (wide + gap) - gap + 2 * edge, high + 2 * edge)
    panel.rounded((0, 0, panel.width, panel.height), height * .15, artist.texture(panel.height, panel.width,
                                                                               artist.colour(), 6))
    dark = np.float32(rng.uniform(5, 60, 3) if artist.chance(.7) else rng.uniform(190, 250, 3))
    ink, red = artist.against(dark, 110), int(rng.integers(0, 4))
    curve = (1 - rng.uniform(.2, .8) * abs(np.linspace(-1, 1, round(high))) ** 2).astype(np.float32)[:, None, None]
    for index in range(count):
        x = round(edge + index * (wide + gap))
        last = index >= count - red
        drum = np.float32((35, 30, 190)) if last and artist.chance(.8) else dark
        cell = Panel(wide, round(high))
        cell.paint(np.ones_like(cell.alpha), drum)
        line = Line(artist.number(1, 1), font, height)
        shift = rng.uniform(-.12, .12) * height
        cell.write(line, (cell.width - line.width) / 2, (cell.height - line.height) / 2 + shift,
                   Style(artist.against(drum, 110) if last else ink))
        cell.colour *= curve[:cell.height]
        y1, area = round(edge), (slice(round(edge), round(edge) + cell.height), slice(x, x + cell.width))
        room = panel.digits[area].shape
        panel.colour[area] = cell.colour[:room[0], :room[1]]
        panel.alpha[area] = 1
        number = cell.digits[:room[0], :room[1]] > 0
        panel.labels.append(cell.labels[0])
        panel.digits[area][number] = len(panel.labels)
        if artist.chance(.5):
            cv2.rectangle(panel.colour, (x, y1), (x + cell.width - 1, y1 + cell.height - 1), (20., 20., 20.), 1)
    return panel


def display(artist: Artist, height: float, paper: Colour) -> Panel:
    """Seven segments that glow, or dark ones on the green-grey of a calculator."""
    rng = artist.rng
    digital = [family for family in artist.families if "DSEG" in family[0].family]
    face = artist.one(artist.one(digital)) if digital and artist.chance(.35) else artist.segments()
    text = artist.number(2, 6)
    if artist.chance(.5):
        at = int(rng.integers(1, len(text)))
        text = text[:at] + artist.one(".:") + text[at:]
    line = Line(text, face, height, rng.uniform(.02, .12))
    pad = height * rng.uniform(.15, .6)
    panel = Panel(line.width + 2 * pad, line.height + 2 * pad)
    if artist.chance(.55):
        ground = np.float32(rng.uniform(0, 45, 3))
        ink = artist.one([np.float32(c) for c in ((40, 40, 255), (60, 255, 80), (255, 200, 60), (30, 150, 255),
                                                  (240, 240, 240), (255, 120, 60))])
        style = Style(ink, glow=rng.uniform(.1, .6))
    else:
        ground = np.float32((rng.uniform(110, 190), rng.uniform(140, 205), rng.uniform(125, 195)))
        style = Style(np.float32(rng.uniform(15, 60, 3)), shadow=rng.uniform(0, .4), thick=.05)
    edge = round(height * rng.uniform(0, .2))
    panel.rounded((0, 0, panel.width, panel.height), height * .1, artist.colour())
    panel.rounded((edge, edge, panel.width - edge, panel.height - edge), height * .08, ground)
    if isinstance(face, Segments) and artist.chance(.5):                # bars that are off
        for left in [left for character, _, left in line.glyphs if character in DIGITS]:
            ghost = face.glyph("8", height).ink * rng.uniform(.04, .12)
            y, x = round(pad), round(pad + left)
            area = (slice(y, y + ghost.shape[0]), slice(x, x + ghost.shape[1]))
            ghost = ghost[:panel.alpha[area].shape[0], :panel.alpha[area].shape[1], None]
            panel.colour[area] += ghost * (style.colour - panel.colour[area])
    panel.write(line, pad, pad, style)
    return panel


def jersey(artist: Artist, height: float, paper: Colour) -> Panel:
    """One or two large digits on cloth with folds, perhaps a name over them."""
    rng = artist.rng
    line = Line(artist.number(1, 2), artist.font(), height, rng.uniform(0, .12))
    panel = Panel(max(line.width, height) * rng.uniform(1.3, 2), height * rng.uniform(1.5, 2.2))
    cloth = artist.colour()
    shirt = artist.texture(panel.height, panel.width, cloth, 5)
    if artist.chance(.25):
        stripes = np.arange(panel.width) // max(4, round(height * rng.uniform(.15, .4))) % 2 == 0
        other = artist.colour() * .3 + cloth * .7
        shirt[:, stripes] = other
    panel.rounded((0, 0, panel.width, panel.height), height * .3, shirt)
    top = panel.height - line.height - .2 * height
    if artist.chance(.5):
        name = Line(artist.word(3, 8).upper(), artist.font(), height * .18, .05)
        panel.write(name, (panel.width - name.width) / 2, height * .15, Style(artist.against(cloth)))
    ink = artist.against(cloth, 60)
    panel.write(line, (panel.width - line.width) / 2, top, Style(
        ink, outline=artist.against(ink, 50) if artist.chance(.5) else None, thick=rng.uniform(.02, .06)))
    folds = cv2.resize(rng.normal(0, 1, (5, 6)).astype(np.float32), (panel.width, panel.height),
                       interpolation=cv2.INTER_CUBIC)
    panel.colour *= (1 + rng.uniform(.05, .2) * folds).clip(.4, 1.4)[..., None]
    return panel


def table(artist: Artist, height: float, paper: Colour) -> Panel:
    """A calendar, a keypad, a sheet: many small numbers in rows."""
    rng = artist.rng
    height = min(height, rng.uniform(LEAST, 44))
    rows, columns, most = int(rng.integers(2, 5)), int(rng.integers(2, 5)), int(rng.integers(1, 3))
    face, lined = artist.face(), artist.chance(.5)
    wide, high = height * (most * .8 + rng.uniform(.5, 1.2)), height * rng.uniform(1.4, 2.1)
    panel = Panel(columns * wide + 4, rows * high + 4)
    ground = artist.colour() if artist.chance(.5) else np.float32(rng.uniform(190, 250, 3))
    if artist.chance(.8):
        panel.rounded((0, 0, panel.width, panel.height), height * .2, artist.texture(panel.height, panel.width, ground,
                                                                                  5))
    else:
        ground = paper
    style, rule, keys = artist.style(ground), artist.against(ground, 30), artist.chance(.3)
    for row in range(rows):
        for column in range(columns):
            x, y = 2 + column * wide, 2 + row * high
            box = tuple(round(value) for value in (x, y, x + wide, y + high))
            if keys:
                panel.rounded((box[0] + 2, box[1] + 2, box[2] - 2, box[3] - 2), height * .2, ground * .8 + rule * .2)
            elif lined:
                panel.shape(lambda mask, box=box: cv2.rectangle(mask, box[:2], box[2:], 255, 1), rule)
            text = artist.number(1, most) if not artist.chance(.15) else artist.word(1, most)
            line = Line(text, face, height, .03)
            panel.write(line, x + (wide - line.width) / 2, y + (high - line.height) / 2, style)
    return panel


def dial(artist: Artist, height: float, paper: Colour) -> Panel:
    """A clock or a gauge: upright numbers around a circle, ticks and hands."""
    rng = artist.rng
    height = min(height, rng.uniform(LEAST, 34))
    count = int(rng.integers(5, 13))
    radius = height * rng.uniform(2.6, 4.2) * max(1, count / 9)
    panel = Panel(2 * radius + 4, 2 * radius + 4)
    centre = np.array((panel.width, panel.height)) / 2
    ground = np.float32(rng.uniform(200, 250, 3)) if artist.chance(.6) else artist.colour()
    rim, ink = artist.colour(), artist.against(ground, 80)
    middle = tuple(int(value) for value in centre)
    for size, colour in ((radius, rim), (radius * rng.uniform(.88, .98), ground)):
        panel.shape(lambda mask, size=size: cv2.circle(mask, middle, round(size), 255, -1, cv2.LINE_AA), colour)
    start, sweep = (-np.pi / 3, 2 * np.pi) if artist.chance(.5) else (rng.uniform(2.2, 3), rng.uniform(3.4, 4.6))
    angles = start + sweep * np.arange(count) / (count if sweep > 6 else count - 1)
    step, font, first = int(rng.choice((1, 1, 1, 2, 5, 10))), artist.font(), int(rng.integers(0, 2))

    def ray(angle: float, inner: float, outer: float, thick: int, colour: Colour) -> None:
        ends = [tuple(np.rint(centre + part * radius * np.array((np.cos(angle), np.sin(angle)))).astype(int).tolist())
                for part in (inner, outer)]
        panel.shape(lambda mask: cv2.line(mask, *ends, 255, thick, cv2.LINE_AA), colour)

    for index, angle in enumerate(angles):
        ray(angle, .86, .93, 1, ink)
        line = Line(str((first + index) * step), font, height)
        spot = centre + (.82 - .75 * height / radius) * radius * np.array((np.cos(angle), np.sin(angle)))
        panel.write(line, spot[0] - line.width / 2, spot[1] - line.height / 2, Style(ink))
    for _ in range(int(rng.integers(1, 3))):
        ray(rng.uniform(0, 2 * np.pi), -.1, rng.uniform(.3, .5), max(1, round(height * rng.uniform(.06, .2))),
            artist.against(ground, 50))
    return panel


def words(artist: Artist, height: float, paper: Colour) -> Panel:
    """No digits: letters, on something or not."""
    line = Line(artist.word(1, 8), artist.font(), min(height, 60), artist.rng.uniform(0, .2))
    pad = .3 * height
    panel = Panel(line.width + 2 * pad, line.height + 2 * pad)
    if artist.chance(.5):
        paper = artist.colour()
        panel.rounded((0, 0, panel.width, panel.height), height * .2, paper)
    panel.write(line, pad, pad, artist.style(paper))
    return panel


def ticks(artist: Artist, height: float, paper: Colour) -> Panel:
    """No digits: the strokes of a ruler or around a dial."""
    rng = artist.rng
    count, thick = int(rng.integers(8, 40)), int(rng.integers(1, 5))
    ground = artist.colour()
    ink, every, long = artist.against(ground).tolist(), int(rng.choice((4, 5, 10))), rng.uniform(.2, .5)
    if artist.chance(.5):
        step = thick * rng.uniform(2, 5)
        panel = Panel(count * step + 12, height)
        panel.rounded((0, 0, panel.width, panel.height), 3, ground)
        ends = [((6 + index * step, 2), (6 + index * step, 2 + height * long * (1 if index % every else 1.6)))
                for index in range(count)]
    else:
        radius = max(height, count * thick / 2.2)
        panel = Panel(2 * radius + 4, 2 * radius + 4)
        middle = (round(radius) + 2,) * 2
        panel.shape(lambda mask: cv2.circle(mask, middle, round(radius), 255, -1, cv2.LINE_AA), ground)
        ends = [tuple(radius + 2 + part * radius * np.array((np.cos(angle), np.sin(angle)))
                      for part in (.95, .95 - long / (2 if index % every else 1.2)))
                for index, angle in enumerate(np.arange(count) * 2 * np.pi / count)]
    for start, end in ends:
        cv2.line(panel.colour, np.rint(start).astype(int).tolist(), np.rint(end).astype(int).tolist(), ink, thick)
    return panel


KINDS = {plain: .3, board: .27, meter: .11, display: .11, jersey: .07, table: .08, dial: .06}


def background(artist: Artist, height: int, width: int) -> np.ndarray:
    """Walls, wood, bricks, stripes, clouds of colour, things: (H, W, 3)."""
    rng = artist.rng
    image = artist.texture(height, width, artist.colour(), rng.uniform(2, 30))
    kind = rng.random()
    if kind < .3:
        for octave in range(1, 6):
            image += cv2.resize(rng.normal(0, 60 / octave, (2 ** octave + 1, 2 ** octave + 1, 3)).astype(np.float32),
                                (width, height), interpolation=cv2.INTER_CUBIC) * rng.uniform(.2, 1)
    elif kind < .45:        # bricks, tiles, boards
        high, wide = int(rng.integers(14, 60)), int(rng.integers(24, 160))
        joint = artist.colour()
        for row in range(height // high + 1):
            y = row * high
            for x in range(-(row % 2) * wide // 2, width, wide):
                image[y:y + high, max(x, 0):max(x + wide, 0)] *= rng.uniform(.8, 1.15)
                cv2.rectangle(image, (x, y), (x + wide, y + high), joint.tolist(), int(rng.integers(1, 4)))
    elif kind < .55:        # stripes
        y, x = np.mgrid[:height, :width].astype(np.float32)
        angle = rng.uniform(0, np.pi)
        wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * rng.uniform(.05, .6))
        image += (wave > 0 if artist.chance(.5) else wave)[..., None] * rng.uniform(-60, 60, 3).astype(np.float32)
    for _ in range(int(rng.integers(0, 14)) if artist.chance(.6) else 0):
        clutter(artist, image)
    if artist.chance(.5):
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(.6, 4))
    return image.clip(0, 255).astype(np.float32)


def part_of(photo: np.ndarray, artist: Artist, height: int, width: int) -> np.ndarray:
    """A photograph's part as a background (H, W, 3), perhaps mirrored, brighter, in other colours."""
    rng = artist.rng
    if artist.chance(.2):
        photo = photo.transpose(1, 0, 2)
    most = min(photo.shape[0] / height, photo.shape[1] / width)
    size = np.array((height, width)) * most * rng.uniform(.3, 1)
    y, x = (rng.random(2) * (np.array(photo.shape[:2]) - size)).astype(int)
    part = photo[y:y + max(8, int(size[0])), x:x + max(8, int(size[1])), ::1]
    part = cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
    if artist.chance(.5):
        part = part[:, ::-1]
    if artist.chance(.3):
        part = part[..., rng.permutation(3)]
    if artist.chance(.3):
        part = cv2.GaussianBlur(part, (0, 0), rng.uniform(.5, 3))
    return np.ascontiguousarray((part * rng.uniform(.5, 1.4)).clip(0, 255))


def clutter(artist: Artist, image: np.ndarray) -> None:
    """A line, an arc, a polygon, a box somewhere."""
    rng, (height, width) = artist.rng, image.shape[:2]
    colour, thick = artist.colour().tolist(), int(rng.integers(1, 6))
    points = rng.integers(0, (width, height), (int(rng.integers(3, 6)), 2)).astype(np.int32)
    size = rng.integers(6, max(width, height) // 3, 2)
    kind = int(rng.integers(5))
    if kind == 0:
        cv2.polylines(image, [points[:3]], artist.chance(.5), colour, thick, cv2.LINE_AA)
    elif kind == 1:
        cv2.fillPoly(image, [(points[0] + (points - points[0]) // 3).astype(np.int32)], colour, cv2.LINE_AA)
    elif kind == 2:
        cv2.rectangle(image, points[0].tolist(), (points[0] + size).tolist(), colour,
                      -1 if artist.chance(.5) else thick)
    elif kind == 3:         # an arc too short to be a 0
        start = int(rng.integers(360))
        cv2.ellipse(image, points[0].tolist(), size.tolist(), int(rng.integers(180)), start, start + 150, colour, thick,
                    cv2.LINE_AA)
    else:
        cv2.line(image, points[0].tolist(), points[1].tolist(), colour, thick, cv2.LINE_AA)


def place(artist: Artist, image: np.ndarray, panel: Panel, taken: list[Box], scale: float = 1,
          ) -> list[tuple[int, Box]] | None:
    """Put a panel somewhere free, turned and in perspective; its digits' boxes, or nothing if there is no room."""
    rng, (height, width) = artist.rng, image.shape[:2]
    for _ in range(12):
        w, h = np.array((panel.width, panel.height)) * scale * (rng.uniform(.82, 1.2), 1)
        corners = np.array(((-w, -h), (w, -h), (w, h), (-w, h))) / 2
        if artist.chance(.75):
            angle = np.deg2rad(np.clip(rng.normal(0, 9), -TURN, TURN))
            shear = rng.normal(0, .08) if artist.chance(.4) else 0
            corners[:, 0] += corners[:, 1] * shear
            corners = corners @ np.array(((np.cos(angle), np.sin(angle)), (-np.sin(angle), np.cos(angle))))
            corners *= 1 + rng.uniform(-.12, .12, (4, 1))
        low, high = corners.min(0), corners.max(0)
        room = np.array((width, height)) - (high - low) - 4
        if (room < 0).any():
            scale *= max(.5, min((np.array((width, height)) - 6) / (high - low)) * .98)
            continue
        origin = np.floor(2 + rng.random(2) * room).astype(int)
        wide, tall = np.ceil(high - low).astype(int) + 1
        box = (int(origin[0]), int(origin[1]), int(origin[0] + wide), int(origin[1] + tall))
        if any(box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3] for b in taken):
            scale *= .93
            continue
        source = np.float32(((0, 0), (panel.width, 0), (panel.width, panel.height), (0, panel.height)))
        matrix = cv2.getPerspectiveTransform(source, (corners - low).astype(np.float32))
        both = cv2.warpPerspective(np.dstack((panel.colour, panel.alpha)), matrix, (int(wide), int(tall)))
        digits = cv2.warpPerspective(panel.digits, matrix, (int(wide), int(tall)), flags=cv2.INTER_NEAREST)
        found = []
        for index, label in enumerate(panel.labels):
            ys, xs = (np.flatnonzero((digits == index + 1).any(axis)) for axis in (1, 0))
            if not len(ys) or ys[-1] - ys[0] + 1 < LEAST - 3 or xs[-1] - xs[0] < 2:
                return None
            found.append((label, (box[0] + int(xs[0]), box[1] + int(ys[0]), box[0] + int(xs[-1]) + 1,
                                  box[1] + int(ys[-1]) + 1)))
        area = image[box[1]:box[3], box[0]:box[2]]
        part = both[:area.shape[0], :area.shape[1]]
        area *= 1 - part[..., 3:]
        area += part[..., :3]
        taken.append(box)
        return found
    return None


def light(artist: Artist, image: np.ndarray, least: float) -> np.ndarray:
    """Light, shade, reflections, blur, noise and compression; least is the height of the smallest digit."""
    rng, (height, width) = artist.rng, image.shape[:2]
    if artist.chance(.6):
        field = cv2.resize(rng.uniform(.5, 1.25, (2, 2)).astype(np.float32), (width, height))
        image = image * field[..., None]
    for _ in range(int(rng.integers(1, 3)) if artist.chance(.35) else 0):
        mask = np.zeros((height, width), np.float32)
        cv2.fillPoly(mask, [rng.integers((-width // 2, -height // 2), (width * 3 // 2, height * 3 // 2),
                                         (int(rng.integers(3, 5)), 2)).astype(np.int32)], 1.)
        mask = cv2.GaussianBlur(mask, (0, 0), rng.uniform(.7, 8))[..., None]
        if artist.chance(.7):
            image = image * (1 - mask * rng.uniform(.2, .55))
        else:               # glare
            image = image + mask * (255 - image).clip(0) * rng.uniform(.1, .4)
    if artist.chance(.5):
        image = (image - 128) * rng.uniform(.6, 1.15) + 128 + rng.uniform(-30, 30)
    if artist.chance(.5):
        image = image * rng.uniform(.88, 1.12, 3).astype(np.float32)
    if artist.chance(.07):
        image = image @ np.full((3, 3), 1 / 3, np.float32)
    if artist.chance(.45):
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(.3, max(.5, least / 16)))
    elif artist.chance(.12):
        length = int(rng.integers(2, max(3, least / 4)))
        kernel = np.eye(length) if artist.chance(.3) else np.zeros((length, length))
        kernel[length // 2] += kernel.sum() == 0
        image = cv2.filter2D(image, -1, kernel / kernel.sum())
    if artist.chance(.6):
        image = image + rng.normal(0, rng.uniform(1, 13), image.shape)
    return np.rint(image).clip(0, 255).astype(np.uint8)


def render(rng: Generator, families: list[list[Font]], photos: Sequence[Path] = (),
           ) -> tuple[np.ndarray, list[tuple[int, Box]]]:
    """A picture, uint8 (H, W, 3) BGR, and its digits with their boxes x1, y1, x2, y2 in pixels.

    On a photograph it has more 1s, which are the hardest to find, or no digits at all, and perhaps strokes like 1s.
    """
    artist = Artist(rng, families, "0112345678901" if photos else DIGITS)
    size = np.array((1, rng.uniform(.6, 1))) * rng.integers(*LONG, endpoint=True)
    width, height = (int(side) for side in (size if artist.chance(.65) else size[::-1]))
    image = part_of(_photo(artist.one(photos)), artist, height, width) if photos else background(artist, height, width)
    taken: list[Box] = []
    digits: list[tuple[int, Box]] = []
    kinds, odds = list(KINDS), list(KINDS.values())
    wanted, large = int(rng.integers(1, 6)), artist.chance(.2)
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
                  number: int) -> int:
    """A picture with its label file, from number plain on with a photograph; how many digits it has."""
    cv2.setNumThreads(1)
    rng = np.random.default_rng((seed, SPLITS.index(split), number))
    image, digits = render(rng, families, photos if number >= plain else ())
    quality = int(rng.integers(35, 96))
    path = folder / split / f"{number:05d}.jpg"
    cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tofile(path)
    height, width = image.shape[:2]
    path.with_suffix(".txt").write_text("".join(
        f"{label} {(x1 + x2) / 2 / width:.6f} {(y1 + y2) / 2 / height:.6f} {(x2 - x1) / width:.6f} "
        f"{(y2 - y1) / height:.6f}\n" for label, (x1, y1, x2, y2) in digits))
    return len(digits)


def make(folder: Path, train: int, valid: int, seed: int, fonts: list[Font], processes: int, more: int = 0) -> None:
    photos = find_photos()
    for split, plain, count in zip(SPLITS, (train, valid), (train + more, valid), strict=True):
        (folder / split).mkdir(parents=True, exist_ok=True)
        families = shared_out(fonts, split)
        work = partial(write_picture, folder, split, families, seed, photos, plain)
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
    parser.add_argument("--fonts", nargs="*", metavar="FOLDER", help="not the system's; none: matplotlib's alone")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="any number makes the same pictures")
    given = parser.parse_args(words)
    make(given.folder, given.train, given.valid, given.seed, find_fonts(given.fonts), given.processes,
         given.photos)
    return 0


if __name__ == "__main__":
    sys.exit(main())
