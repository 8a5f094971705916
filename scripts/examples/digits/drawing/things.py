"""Things with digits on them, each a panel: boards, meters, displays, jerseys, tables, dials; and some without."""
from __future__ import annotations

import cv2
import numpy as np

from .artist import SIGNS, Artist
from .fonts import DIGITS
from .panels import Colour, Line, Panel, Style
from .strokes import Segments

LEAST = 17              # the least height of a digit, in pixels


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
