"""The camera: panels warped into the picture with their digits' boxes, light, blur and noise."""
from __future__ import annotations

import cv2
import numpy as np

from .artist import Artist
from .panels import Box, Panel
from .things import LEAST

TURN = 28               # degrees: 6 and 9 stay apart


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
