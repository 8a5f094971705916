"""Make the picture in which cfg/digits.cfg shows what it can: things with digits on a brick wall in the evening sun.

    python scripts/examples/digits/make_picture.py cfg/digits.jpg [--seed 5]

Writes the picture and, beside it, a label file for its digits. It shares nothing with make_dataset.py, whose pictures
train the network: this is a relief of heights, colours and gloss, lit by one sun that casts shadows, and seen
through a lens. The fonts are those of matplotlib.
"""
from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

FONTS = Path(matplotlib.get_data_path()) / "fonts/ttf"
WIDTH, HEIGHT, FINE = 640, 512, 2                   # of the picture, and how many times finer it is made
SUN = np.array((-.55, -.6, .58))                    # the direction it shines from: x right, y down, z to the viewer
WARM, SKY = np.array((.86, .97, 1.1)), np.array((1.12, 1.02, .92))      # BGR
BARS = ("abcdef", "bc", "abdeg", "abcdg", "bcfg", "acdfg", "acdefg", "abc", "abcdefg", "abcdfg")


class Thing:
    """A piece of the relief: colour (H, W, 3) in [0, 1], height in pixels, gloss, own light; which digit is where."""

    def __init__(self, width: int, height: int, colour: tuple[float, float, float], seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.size = width, height
        self.colour = np.ones((height, width, 3), np.float32) * np.float32(colour)
        self.height = np.zeros((height, width), np.float32)
        self.gloss = np.zeros((height, width), np.float32)
        self.shine = np.zeros((height, width, 3), np.float32)
        self.digits = np.zeros((height, width), np.uint8)           # 1 + index into labels
        self.labels: list[int] = []
        self.alpha = np.ones((height, width), np.float32)

    def noise(self, cells: int, strength: float, stretch: tuple[float, float] = (1, 1)) -> np.ndarray:
        width, height = self.size
        grid = self.rng.normal(0, strength, (max(2, round(height / cells / stretch[1])),
                                             max(2, round(width / cells / stretch[0])))).astype(np.float32)
        return cv2.resize(grid, self.size, interpolation=cv2.INTER_CUBIC)

    def mask(self, draw) -> np.ndarray:
        image = Image.new("L", self.size)
        draw(ImageDraw.Draw(image))
        return np.asarray(image, np.float32) / 255

    def box(self, x1: float, y1: float, x2: float, y2: float, radius: float = 0) -> np.ndarray:
        return self.mask(lambda d: d.rounded_rectangle((x1, y1, x2 - 1, y2 - 1), radius, 255))

    def disc(self, x: float, y: float, radius: float) -> np.ndarray:
        return self.mask(lambda d: d.ellipse((x - radius, y - radius, x + radius, y + radius), 255))

    def paint(self, mask: np.ndarray, colour: tuple[float, float, float] | None = None, rise: float = 0,
              soft: float = 1, gloss: float | None = None) -> None:
        """Colour where the mask is, raise it with an edge of some softness, polish it."""
        if colour is not None:
            self.colour += mask[..., None] * (np.float32(colour) - self.colour)
        if rise:
            self.height += rise * cv2.GaussianBlur(mask, (0, 0), soft)
        if gloss is not None:
            self.gloss += mask * (gloss - self.gloss)

    def write(self, text: str, x: float, y: float, height: float, font: str, colour, rise: float = 0,
              spacing: float = .06, wide: float = 1) -> None:
        """Put the text's middle at (x, y); height is that of its digits."""
        face = ImageFont.truetype(str(FONTS / f"{font}.ttf"), round(height / .73))
        advance = [(face.getlength(letter) + spacing * height) * wide for letter in text]
        left = x - (sum(advance) - spacing * height) / 2
        for letter, step in zip(text, advance, strict=True):
            mask = self.mask(lambda d, letter=letter: d.text((x, y + height / 2), letter, 255, face, "ls"))
            matrix = np.float32(((wide, 0, left - wide * x), (0, 1, 0)))
            self.mark(letter, cv2.warpAffine(mask, matrix, self.size), colour, rise)
            left += step

    def mark(self, letter: str, mask: np.ndarray, colour, rise: float = 0) -> None:
        self.paint(mask, colour, rise, 1.3)
        if letter.isdigit():
            self.labels.append(int(letter))
            self.digits[mask > .5] = len(self.labels)

    def segments(self, text: str, x: float, y: float, height: float, colour: tuple[float, float, float]) -> None:
        """Glowing bars; the first one's top left corner is at (x, y)."""
        wide, thick = .55 * height, .13 * height
        for letter in text:
            if letter == ".":
                mask = self.disc(x - .08 * height, y + height - thick / 2, thick * .55)
                x += .06 * height
            else:
                ends = {"a": (0, 0, 1, 0), "b": (1, 0, 1, .5), "c": (1, .5, 1, 1), "d": (0, 1, 1, 1),
                        "e": (0, .5, 0, 1), "f": (0, 0, 0, .5), "g": (0, .5, 1, .5)}
                mask, off = np.zeros(self.size[::-1], np.float32), np.zeros(self.size[::-1], np.float32)
                for bar, (x1, y1, x2, y2) in ends.items():
                    points = np.array(((x1, y1), (x2, y2))) * (wide - thick, height - thick) + thick / 2 + (x, y)
                    along = (points[1] - points[0]) / np.linalg.norm(points[1] - points[0])
                    points += np.outer((1, -1), along) * thick * .58
                    across = along[::-1] * thick * .42
                    corners = [points[0] + across, points[0] - along * thick * .42, points[0] - across,
                               points[1] - across, points[1] + along * thick * .42, points[1] + across]
                    area = self.mask(lambda d, c=corners: d.polygon([tuple(point) for point in c], 255))
                    np.maximum(*((mask, area) if bar in BARS[int(letter)] else (off, area)),
                               out=mask if bar in BARS[int(letter)] else off)
                self.colour *= 1 + .35 * off[..., None]
                x += wide + .2 * height
            self.mark(letter, mask, colour)
            self.shine += (mask + .35 * cv2.GaussianBlur(mask, (0, 0), thick))[..., None] * np.float32(colour)


def wall(rng: np.random.Generator) -> Thing:
    """Bricks, each of its own colour, with rough faces and sunken joints."""
    width, height = WIDTH * FINE, HEIGHT * FINE
    one = Thing(width, height, (.56, .6, .63), 1)
    long, high, joint = 132, 50, 7
    faces = np.zeros((height, width), np.float32)
    for row in range(height // high + 1):
        for column in range(-1, width // long + 1):
            x, y = column * long + row % 2 * long // 2, row * high
            area = (slice(max(y, 0), y + high - joint), slice(max(x, 0), max(x + long - joint, 0)))
            shade = rng.uniform(.75, 1.15)
            one.colour[area] = np.float32((.2, .27, .5)) * shade + rng.normal(0, .02, 3).astype(np.float32)
            faces[area] = 1 + rng.uniform(-.15, .15)
    one.height = 5 * cv2.GaussianBlur(faces, (0, 0), 1.6) + one.noise(5, .45) + one.noise(2, .25)
    one.colour *= (1 + one.noise(3, .06) + one.noise(60, .06))[..., None]
    return one


def house_number() -> Thing:
    one = Thing(240, 180, (.55, .22, .06))
    one.alpha = one.box(0, 0, 240, 180, 26)
    y, x = np.mgrid[-1:1:180j, -1:1:240j].astype(np.float32)
    one.height += 14 + 9 * (1 - .5 * x ** 2 - .5 * y ** 2)                 # enamel on a dome
    one.gloss += .9
    frame = one.box(10, 10, 230, 170, 20) - one.box(15, 15, 225, 165, 16)
    one.paint(frame, (.9, .92, .92), .6)
    one.write("27", 120, 92, 100, "DejaVuSerif-Bold", (.93, .95, .95), .7)
    for spot in ((24, 90), (216, 90)):
        one.paint(one.disc(*spot, 6), (.45, .5, .55), 3, 1.5, .8)
    return one


def meter() -> Thing:
    one = Thing(480, 330, (.62, .63, .6))
    one.alpha = one.box(0, 0, 480, 330, 34)
    one.paint(one.box(4, 4, 476, 326, 30), None, 34, 5)
    one.colour *= (1 + one.noise(3, .012))[..., None]
    one.paint(one.box(24, 24, 456, 306, 18), (.8, .83, .83), -6, 2, .25)
    one.paint(one.box(46, 62, 434, 160, 8), (.12, .12, .12), 4, 1.5, .5)
    wide, top, tall = 56, 74, 74
    curve = np.sqrt(1 - np.linspace(-.93, .93, tall) ** 2)[:, None].astype(np.float32)
    for index, digit in enumerate("051934"):
        x = 60 + index * 62
        red = index == 5
        one.paint(one.box(x, top, x + wide, top + tall, 2), (.1, .1, .55) if red else (.06, .06, .06))
        one.write(digit, x + wide / 2, top + tall / 2 + (4 if red else 0), 56, "DejaVuSans", (.92, .93, .93))
        one.height[top:top + tall, x:x + wide] += 10 * curve - 14           # drums behind the face
        one.gloss[top:top + tall, x:x + wide] = .35
        one.colour[top:top + tall, x:x + wide] *= .35 + .65 * curve[..., None]
    one.write("kWh", 406, 184, 20, "DejaVuSans", (.15, .15, .15))
    one.write("ENERGY METER", 150, 44, 14, "DejaVuSans", (.2, .2, .2), 0, .12)
    one.paint(one.box(110, 206, 370, 244, 4), (.35, .36, .36), -5, 1.2, .6)         # the turning disc
    one.paint(one.box(112, 220, 368, 230), (.75, .78, .8), 6, 1, 1)
    one.paint(one.box(214, 220, 240, 230), (.1, .1, .7))
    for index in range(30):
        x = 120 + 8 * index
        one.paint(one.box(x, 254, x + 2, 262 + 6 * (index % 5 == 0)), (.2, .2, .2))
    for spot in ((40, 290), (440, 290), (440, 40)):
        one.paint(one.disc(*spot, 9), (.5, .52, .52), 3, 2, .9)
        slot = (spot[0] - 6, spot[1] - 4, spot[0] + 6, spot[1] + 4)
        one.paint(one.mask(lambda d, slot=slot: d.line(slot, 255, 3)), (.2, .2, .2), -2)
    return one


def plate() -> Thing:
    one = Thing(440, 124, (.82, .87, .87))
    one.alpha = one.box(0, 0, 440, 124, 14)
    one.height += 12
    one.paint(one.box(6, 6, 434, 118, 10), None, 2, 1.5)
    one.paint(one.box(10, 10, 430, 114, 8), None, -2, 1.5, .5)
    one.gloss += .35
    one.paint(one.box(12, 12, 62, 112, 6), (.6, .2, .05))
    for angle in np.arange(12) * np.pi / 6:
        one.paint(one.disc(37 + 15 * np.cos(angle), 46 + 15 * np.sin(angle), 2.4), (.2, .85, .95))
    one.write("K", 37, 90, 22, "DejaVuSans-Bold", (.9, .9, .9))
    one.write("HX", 124, 63, 70, "DejaVuSans-Bold", (.1, .08, .08), 2.6, .08, .74)
    one.write("4086", 322, 63, 70, "DejaVuSans-Bold", (.1, .08, .08), 2.6, .12, .74)
    one.paint(one.disc(200, 62, 11), (.3, .55, .3), 1, 1, .3)
    dirt = (one.noise(14, .5) + one.noise(50, .5)).clip(0, 1)[..., None]
    one.colour = one.colour * (1 - .25 * dirt) + .25 * dirt * np.float32((.25, .33, .4))
    return one


def price_tag() -> Thing:
    one = Thing(260, 190, (.5, .75, .88))
    one.alpha = one.mask(lambda d: d.polygon(((0, 95), (52, 24), (259, 24), (259, 166), (52, 166)), 255))
    one.alpha *= 1 - one.disc(36, 95, 9)
    one.height += 12 + .0005 * (np.arange(260, dtype=np.float32) - 120) ** 2                              # bent card
    one.colour *= (1 + one.noise(2, .02) + one.noise(9, .015))[..., None]
    one.paint(one.disc(36, 95, 15) - one.disc(36, 95, 9), (.3, .5, .65), 2, 1, .9)
    one.write("SALE", 156, 50, 22, "DejaVuSans-Bold", (.15, .1, .6))
    one.write("19.50", 158, 104, 56, "DejaVuSans-Bold", (.12, .1, .5), 0, .14, .72)
    one.paint(one.mask(lambda d: d.line((66, 150, 246, 142), 255, 3)), (.3, .3, .5))
    return one


def jersey() -> Thing:
    width, height = 420, 470
    one = Thing(width, height, (.2, .14, .72), 4)
    outline = ((96, 20), (160, 40), (210, 52), (260, 40), (324, 20), (418, 96), (372, 178), (326, 146), (330, 462),
               (90, 462), (94, 146), (48, 178), (2, 96))
    one.alpha = cv2.GaussianBlur(one.mask(lambda d: d.polygon(outline, 255)), (0, 0), 1.2)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    folds = sum(a * np.sin(x / w + y * s / w + p) for a, w, s, p in ((9, 31, .25, 0), (5, 17, -.4, 1), (3, 11, .1, 2)))
    one.height += 20 + folds * (.25 + .75 * y / height) + .35 * np.sin(x * 1.6) * np.sin(y * 1.6)
    one.height *= cv2.GaussianBlur(one.alpha, (0, 0), 9)
    collar = one.mask(lambda d: d.line(((156, 38), (210, 66), (264, 38)), 255, 16, "curve"))
    one.paint(collar, (.9, .9, .9), 3, 2)
    for cuff in (((418, 96), (372, 178)), ((48, 178), (2, 96))):
        one.paint(one.mask(lambda d, c=cuff: d.line(c, 255, 18)), (.9, .9, .9))
    one.write("BAKER", 210, 134, 32, "DejaVuSans-Bold", (.92, .92, .92), 0, .12)
    one.write("10", 210, 268, 150, "DejaVuSans-Bold", (.92, .92, .92), .8, .05, .86)
    return one


def thermometer() -> Thing:
    one = Thing(330, 190, (.13, .13, .14))
    one.alpha = one.box(0, 0, 330, 190, 30)
    one.paint(one.box(3, 3, 327, 187, 28), None, 24, 4)
    one.colour *= (1 + one.noise(2, .05))[..., None]
    one.paint(one.box(22, 22, 308, 150, 8), (.035, .02, .02), -3, 1, .8)
    one.segments("21.8", 52, 42, 88, (.15, .25, 1))
    one.write("INDOOR", 110, 168, 13, "DejaVuSans", (.6, .6, .6), 0, .15)
    one.paint(one.disc(276, 168, 6), (.2, .7, .2))
    return one


def sign() -> Thing:
    one = Thing(300, 300, (.9, .91, .9))
    one.alpha = one.disc(150, 150, 147)
    one.paint(one.disc(150, 150, 143), None, 14, 3)
    one.gloss += .45
    one.paint(one.disc(150, 150, 144) - one.disc(150, 150, 108), (.1, .08, .72))
    one.write("60", 150, 152, 104, "DejaVuSans-Bold", (.06, .06, .06), 0, .03, .86)
    rust = (one.noise(20, .6) + one.noise(5, .35) - .45).clip(0, 1)[..., None]
    one.colour += .5 * rust * (np.float32((.1, .2, .35)) - one.colour)
    return one


# What hangs where: the corners of each in the picture, from the top left one on.
THINGS = ((house_number, ((38, 30), (160, 24), (162, 116), (40, 122))),
          (meter, ((196, 34), (428, 28), (430, 188), (198, 196))),
          (thermometer, ((462, 40), (622, 52), (618, 144), (460, 134))),
          (jersey, ((16, 156), (238, 146), (244, 398), (26, 414))),
          (price_tag, ((262, 232), (404, 246), (396, 350), (256, 332))),
          (sign, ((450, 190), (606, 182), (610, 338), (454, 346))),
          (plate, ((256, 392), (532, 374), (538, 450), (260, 470))))


def arrange(rng: np.random.Generator) -> Thing:
    """The wall with everything on it."""
    scene = wall(rng)
    for make, corners in THINGS:
        one = make()
        width, height = one.size
        matrix = cv2.getPerspectiveTransform(np.float32(((0, 0), (width, 0), (width, height), (0, height))),
                                             np.float32(corners) * FINE)
        alpha, lift, gloss = (cv2.warpPerspective(part, matrix, scene.size) for part in
                              (one.alpha, one.height, one.gloss))
        colour = cv2.warpPerspective(one.colour, matrix, scene.size, borderMode=cv2.BORDER_REPLICATE)
        scene.colour += alpha[..., None] * (colour - scene.colour)
        scene.height += alpha * (7 + lift - scene.height)
        scene.gloss += alpha * (gloss - scene.gloss)
        scene.shine += cv2.warpPerspective(one.shine, matrix, scene.size)
        digits = cv2.warpPerspective(one.digits, matrix, scene.size, flags=cv2.INTER_NEAREST)
        scene.digits[digits > 0] = digits[digits > 0] + len(scene.labels)
        scene.labels += one.labels
    return scene


def expose(scene: Thing, rng: np.random.Generator) -> np.ndarray:
    """The relief as a camera sees it: uint8 (HEIGHT, WIDTH, 3) BGR."""
    sun = SUN / np.linalg.norm(SUN)
    flat = np.hypot(*sun[:2])
    shade = np.zeros_like(scene.height)
    for step in range(1, 90):           # towards the sun: does anything stand above the ray?
        shift = np.float32(((1, 0, -step * sun[0] / flat), (0, 1, -step * sun[1] / flat)))
        over = cv2.warpAffine(scene.height, shift, scene.size, borderMode=cv2.BORDER_REPLICATE)
        np.maximum(shade, over - scene.height - step * sun[2] / flat, out=shade)
    lit = cv2.GaussianBlur(1 - (shade / 2.5).clip(0, 1), (0, 0), 1.5)
    leaves = scene.noise(150, 1) + scene.noise(60, .7)
    lit *= .5 + .5 / (1 + np.exp(-5 * (leaves + .75)))                      # of a tree nearby
    smooth = cv2.GaussianBlur(scene.height, (0, 0), .9)
    normal = np.dstack((-cv2.Sobel(smooth, -1, 1, 0, scale=1 / 8), -cv2.Sobel(smooth, -1, 0, 1, scale=1 / 8),
                        np.ones_like(smooth)))
    normal /= np.linalg.norm(normal, axis=2, keepdims=True)
    lambert, half = (normal @ sun).clip(0), sun + np.array((0, 0, 1))
    mirror = (normal @ (half / np.linalg.norm(half))).clip(0)
    hollow = np.exp(-(cv2.GaussianBlur(scene.height, (0, 0), 9) - scene.height).clip(0) / 12)
    image = scene.colour.clip(0, 1) ** 2.2 * ((1.75 * lambert * lit)[..., None] * WARM + (
        .36 * hollow * (1 - .25 * normal[..., 1]))[..., None] * SKY) + scene.shine * .9
    image += (scene.gloss * (.5 * mirror ** 60 * lit + .05 * (1 - normal[..., 1]) ** 2))[..., None]
    y, x = np.mgrid[-1:1:1j * scene.size[1], -1:1:1j * scene.size[0]]
    image *= (1 - .16 * (x * x + y * y))[..., None]
    image = cv2.resize(cv2.GaussianBlur(image.astype(np.float32), (0, 0), 1.1), (WIDTH, HEIGHT),
                       interpolation=cv2.INTER_AREA)
    image = (1 - np.exp(-1.5 * image)).clip(0) ** (1 / 2.2) * 1.06
    return np.rint((image * 255 + rng.normal(0, 2.2, image.shape)).clip(0, 255)).astype(np.uint8)


def boxes(scene: Thing) -> list[tuple[int, float, float, float, float]]:
    """Each digit with its box: centre, width and height in parts of the picture."""
    rows = []
    for index, label in enumerate(scene.labels):
        ys, xs = ((scene.digits == index + 1).any(axis).nonzero()[0] for axis in (1, 0))
        x1, y1, x2, y2 = xs[0], ys[0], xs[-1] + 1, ys[-1] + 1
        width, height = scene.size
        rows.append((label, (x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height))
    return rows


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file", type=Path, help="a .jpg")
    parser.add_argument("--seed", type=int, default=5)
    given = parser.parse_args(words)
    rng = np.random.default_rng(given.seed)
    scene = arrange(rng)
    cv2.imencode(".jpg", expose(scene, rng), [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tofile(given.file)
    given.file.with_suffix(".txt").write_text("".join(
        f"{label} {x:.6f} {y:.6f} {width:.6f} {height:.6f}\n" for label, x, y, width, height in boxes(scene)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
