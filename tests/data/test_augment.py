"""Augmentation: boxes stay on their pixels whatever is done to a picture, and what each option does."""
from __future__ import annotations

import cv2
import numpy as np
import pytest
from conftest import raises

from darknet_py import load_network, parse_cfg
from darknet_py.data.augment_apply import Source, make_picture, margins_of
from darknet_py.data.augment_plan import Augmentation, Recipe, View, draw_recipe
from darknet_py.errors import CfgError, CfgWarning, DataError, Reason
from darknet_py.training.augmentation import augmentation_of

PLAIN = View((.5,) * 4, (.5, .5), False, 0, 1, 1, 0, 0, False)
WIDE, HIGH = 320, 240
SPOT = 3.5                          # standard deviation of a marker, in pixels
WINDOW = 7                          # how far from its place a marker is looked for
EVERYTHING = {"jitter": .2, "resize": 1.3, "flip": 1, "hue": .04, "saturation": 1.5, "exposure": 1.5}
OPTIONS = {
    "none": {},
    "jitter": {"jitter": .3},
    "zoom": {"resize": 1.5},
    "zoom out": {"resize": .6},
    "letterbox": {"letter_box": 1},
    "letterbox, jitter": dict(letter_box=1, **EVERYTHING),
    "flip": {"flip": 1},
    "colour": {"hue": .04, "saturation": 1.5, "exposure": 1.5},
    "noise": {"gaussian_noise": 8},
    "blur": {"blur": 5},
    "background blur": {"blur": 1},
    "mosaic": {"mosaic": 1},
    "mosaic, jitter": dict(mosaic=1, **EVERYTHING),
    "mosaic, bound": dict(mosaic=1, mosaic_bound=1, **EVERYTHING),
    "mixup": dict(mixup=1, **EVERYTHING),
    "contrastive": dict(contrastive=1, **EVERYTHING),
    "contrastive, all": dict(contrastive=1, contrastive_jit_flip=1, contrastive_color=1, mosaic=1, **EVERYTHING),
    "track": dict(track=1, mosaic=1, **EVERYTHING),
    "all": dict(mosaic=1, gaussian_noise=8, **EVERYTHING),
}


def source_of(image: np.ndarray, rows: np.ndarray) -> Source:
    return Source(image, rows, cv2.mean(image))


def marked(rng: np.random.Generator, channel: int, wide: int = WIDE, high: int = HIGH) -> tuple[np.ndarray, np.ndarray]:
    """A dark picture with two boxes, and a spot of one colour at their corners and centres. The class is the colour."""
    centers = np.array([[.27, .5], [.73, .5]]) + rng.uniform(-.04, .04, (2, 2))
    sizes = rng.uniform([.24, .4], [.36, .7], (2, 2))
    rows = np.column_stack([np.full(2, channel), centers, sizes]).astype(np.float32)
    image = np.full((high, wide, 3), 10.)
    for spot in spots(rows) * (wide, high):
        across, down = (np.exp(-(np.arange(length) + .5 - at) ** 2 / 2 / SPOT ** 2)
                        for length, at in zip((wide, high), spot, strict=True))
        image[..., channel] += 240 * np.outer(down, across)
    return image.clip(0, 255).astype(np.uint8), rows


def spots(rows: np.ndarray) -> np.ndarray:
    """(K * 5, 2): each box's centre and corners."""
    ways = np.array([[0, 0], [-1, -1], [-1, 1], [1, -1], [1, 1]]) / 2
    return (rows[:, None, 1:3] + rows[:, None, 3:5] * ways).reshape(-1, 2)


def distance(image: np.ndarray, channel: int, at: np.ndarray) -> float:
    """From a place in pixels to the spot around it; infinity where there is none."""
    x, y = int(at[0]), int(at[1])
    window = image[y - WINDOW:y + WINDOW + 1, x - WINDOW:x + WINDOW + 1, channel].astype(float)
    low, top = window.min(), window.max()
    if top - low < 30:
        return np.inf
    weight = (window - (low + top) / 2).clip(0)
    rows, columns = np.mgrid[-WINDOW:WINDOW + 1, -WINDOW:WINDOW + 1] + .5
    center = np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum() + (x, y)
    return float(np.linalg.norm(center - at))


@pytest.mark.parametrize("size", [(320, 240), (208, 208), (160, 256)])
@pytest.mark.parametrize("name", OPTIONS)
def test_boxes_are_where_their_pixels_are(name, size):
    a = Augmentation(**OPTIONS[name])
    width, height = size
    found = mixed = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        recipe = draw_recipe(a, seed, 0, 0, seed % 2 if a.contrastive else 0)
        count = len(recipe.views)
        mixed += count > 1
        shape = (HIGH, WIDE) if seed % 3 == 0 else (WIDE, HIGH)
        sources = [source_of(*marked(rng, part % 3, *shape)) for part in range(count)]
        image, rows = make_picture(a, recipe, sources, width, height, rng)
        assert image.shape == (height, width, 3) and image.dtype == np.uint8
        borders = [(0, width), (0, height)]
        if count == 4:
            borders = [(*sides, int(cut * sides[1])) for sides, cut in zip(borders, recipe.cut, strict=True)]
        corners = 5 if recipe.views[0].blur != 1 else 1             # the background's blur takes a corner's outer part
        for row in rows:
            assert (row[1:3] - row[3:5] / 2).min() + 1e-9 >= 0 and (row[1:3] + row[3:5] / 2).max() <= 1 + 1e-9
            assert (row[3:5] * size >= 1 - 1e-6).all()
            whole = True
            for at in (spots(row[None]) * size)[::-1][:5]:
                near = min(abs(value - side) for value, sides in zip(at, borders, strict=True) for side in sides)
                if near <= WINDOW + 1:
                    whole = False                                  # cut: then neither its middle is the object's
            for at in (spots(row[None]) * size)[:corners] if whole else ():
                found += 1
                assert distance(image, int(row[0]), at) < 1.5, (name, size, seed, at)
    assert found >= 20
    assert mixed > 0 or a.mixing == 0


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("letter_box", [0, 1])
def test_a_cut_box_ends_where_its_pixels_end(flip, letter_box):
    """Half of a bright square is cut off: the row is the half that one sees."""
    image = np.zeros((100, 100, 3), np.uint8)
    image[30:70, :40] = 255
    row = np.array([[0, .2, .5, .4, .4]])
    view = PLAIN._replace(edges=(1, .5, .5, .5), flip=flip)
    picture, rows = make_picture(Augmentation(jitter=.2, letter_box=letter_box), Recipe((view,), (0,), 1, (.5, .5)),
                                 [source_of(image, row)], 160, 160, np.random.default_rng(0))
    columns, lines = (np.flatnonzero(picture[..., 0].max(axis) > 127) for axis in (0, 1))
    left, top = rows[0, 1:3] - rows[0, 3:5] / 2
    right, bottom = rows[0, 1:3] + rows[0, 3:5] / 2
    np.testing.assert_allclose(np.array([left, right, top, bottom]) * 160,
                               [columns[0], columns[-1] + 1, lines[0], lines[-1] + 1], atol=1)


@pytest.mark.parametrize("size, kept", [(.5, 1), (.011, 1), (.009, 0)])
def test_boxes_below_a_pixel_go(size, kept):
    _, rows = picture_of(Augmentation(), rows=np.array([[1, .5, .5, size, .5]]))
    assert len(rows) == kept


def picture_of(a: Augmentation, view: View = PLAIN, image=None, rows=None, size: int = 100) -> tuple:
    image = np.full((size, size, 3), (40, 90, 200), np.uint8) if image is None else image
    rows = np.array([[0, .5, .5, .4, .4]]) if rows is None else rows
    recipe, source = Recipe((view,), (0,), 1, (.5, .5)), source_of(image, rows)
    return make_picture(a, recipe, [source], size, size, np.random.default_rng(0))


def test_what_lies_outside_the_picture_has_its_mean_colour():
    image = np.zeros((100, 100, 3), np.uint8)
    image[:, 50:] = (100, 200, 50)
    picture, _ = picture_of(Augmentation(jitter=.4), PLAIN._replace(edges=(0, .5, .5, .5)), image)
    assert picture[50, 5].tolist() == [50, 100, 25]


@pytest.mark.parametrize("change, expected", [
    ({"exposure": .5}, (20, 45, 100)), ({"exposure": 9}, (51, 115, 255)),
    ({"saturation": .5}, (120, 145, 200)), ({"saturation": 0}, (200, 200, 200)),
    ({"hue": 1 / 3}, (92, 200, 40)), ({"hue": -1 / 3}, (200, 40, 90)),
])
def test_colours(change, expected):
    picture, _ = picture_of(Augmentation(), PLAIN._replace(**change))
    np.testing.assert_allclose(picture[50, 50], expected, atol=6)


def test_grey_pictures():
    image = np.full((100, 100, 1), 60, np.uint8)
    picture, _ = picture_of(Augmentation(), PLAIN._replace(hue=.3, exposure=2, noise=1, flip=True, blur=3), image)
    assert picture.shape == (100, 100, 1) and abs(picture.mean() - 120) < 2


def test_noise_and_blur():
    checked = np.repeat(((np.indices((100, 100)).sum(0) % 2) * 200).astype(np.uint8)[..., None], 3, 2)
    noisy, _ = picture_of(Augmentation(), PLAIN._replace(noise=10))
    assert 3 < noisy[..., 1].mean() - 90 < 5                  # half of a normal distribution: .4 deviations
    blurred, _ = picture_of(Augmentation(), PLAIN._replace(blur=1), checked)
    assert np.array_equal(blurred[30:70, 30:70], checked[30:70, 30:70]) and blurred[:30].std() < 5
    blurred, _ = picture_of(Augmentation(), PLAIN._replace(blur=5), checked)
    assert blurred.std() < 25
    untouched, _ = picture_of(Augmentation(), PLAIN._replace(blur=5), checked, np.zeros((0, 5)))
    assert np.array_equal(untouched, checked)
    mixed = np.random.default_rng(0).integers(0, 255, (100, 100, 3), np.uint8)
    small, _ = picture_of(Augmentation(), PLAIN._replace(blur=31), mixed, np.array([[0, .5, .5, .25, .4]]))
    assert np.array_equal(small, cv2.GaussianBlur(mixed, (3, 3), 0))


def test_the_order_of_boxes_is_random_and_max_boxes_holds():
    rows = np.column_stack([np.arange(30), np.full((30, 4), .5)])
    source, recipe = source_of(np.zeros((9, 9, 3), np.uint8), rows), Recipe((PLAIN,), (0,), 1, (.5, .5))
    made = [make_picture(Augmentation(max_boxes=20), recipe, [source], 9, 9, np.random.default_rng(seed))
            for seed in range(5)]
    orders = {tuple(found[:, 0]) for _, found in made}
    assert len(orders) == 5 and {len(order) for order in orders} == {20}


def test_recipes_are_functions_of_their_place():
    a = Augmentation(mosaic=1, blur=7, gaussian_noise=5, **EVERYTHING)
    recipes = [draw_recipe(a, seed, iteration, group) for seed in (0, 1) for iteration in (0, 1) for group in (0, 1)]
    assert len(set(recipes)) == 8
    assert recipes[5] == draw_recipe(a, 1, 0, 1)


def test_frequencies_and_ranges():
    a = Augmentation(mosaic=1, blur=7, gaussian_noise=5, **EVERYTHING)
    recipes = [draw_recipe(a, 0, 0, group) for group in range(2000)]
    assert .45 < np.mean([len(recipe.views) == 4 for recipe in recipes]) < .55
    views = [recipe.views[0] for recipe in recipes]
    for values, low, top, mean in (
            ([view.flip for view in views], 0, 1, .5), ([view.noise for view in views], 0, 5, 2.5),
            ([view.hue for view in views], -.04, .04, 0), ([view.blur for view in views], 0, 7, 8 / 3),
            ([view.saturation for view in views], 1 / 1.5, 1.5, (1.25 + np.log(1.5) / .5) / 2),
            ([recipe.cut[0] for recipe in recipes], .2, .8, .5)):
        spread = (top - low) / 20
        assert low <= min(values) < low + spread and top - spread < max(values) <= top
        assert abs(np.mean(values) - mean) < spread


@pytest.mark.parametrize("jit_flip, color", [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_contrastive_views(jit_flip, color):
    a = Augmentation(contrastive=1, contrastive_jit_flip=jit_flip, contrastive_color=color, mosaic=1, **EVERYTHING)
    for group in range(9):
        first, second = (draw_recipe(a, 0, 0, group, member) for member in (0, 1))
        assert first.picks == second.picks and len(first.views) == len(second.views)
        for one, two in zip(first.views, second.views, strict=True):
            assert (one.edges == two.edges) != jit_flip and (one.hue == two.hue) != color and one.zoom != two.zoom
        assert first.cut != second.cut


def mosaic_of(a: Augmentation, view: View, image: np.ndarray, row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    recipe, sources = Recipe((view,) * 4, (0,) * 4, 1, (.4, .7)), [source_of(image, row)] * 4
    return make_picture(a, recipe, sources, 200, 200, np.random.default_rng(0))


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("edges", [(0, 0, 0, 0), (0, .5, .5, .5), (.5, 0, .5, .5), (.5, .5, 0, .5), (.5, .5, .5, 0)])
def test_no_border_is_seen_where_tiles_meet(edges, flip):
    stripes = np.repeat(np.where(np.indices((100, 100)).sum(0) // 10 % 2, 200, 0).astype(np.uint8)[..., None], 3, 2)
    picture, _ = mosaic_of(Augmentation(jitter=.15), PLAIN._replace(edges=edges, flip=flip), stripes, np.zeros((0, 5)))
    border = abs(picture[..., 0].astype(int) - 100) < 5         # its mean colour
    assert border[:, 76:84].mean() < .15 and border[136:144].mean() < .15


@pytest.mark.parametrize("bound", [0, 1])
def test_mosaic_bound_keeps_boxes_in_their_tile(bound):
    """The object of each picture reaches over its right border, which lies under the tile beside it."""
    image, row = np.zeros((100, 100, 3), np.uint8), np.array([[0, .95, .5, .3, .2]])
    _, rows = mosaic_of(Augmentation(jitter=.2, mosaic_bound=bound), PLAIN._replace(edges=(.5, 0, .5, .5)), image, row)
    right = (rows[:, 1] + rows[:, 3] / 2).round(3)
    assert sorted(right[right < .9]) == ([.4] if bound else [.482])


@pytest.mark.parametrize("options, reason", [
    ({"resize": 0}, Reason.OUT_OF_RANGE), ({"jitter": -.1}, Reason.OUT_OF_RANGE),
    ({"exposure": -1}, Reason.OUT_OF_RANGE), ({"mixup": 7}, Reason.OUT_OF_RANGE),
    ({"mosaic": 1, "letter_box": 1}, Reason.CONFLICT), ({"mixup": 3, "letter_box": 1}, Reason.CONFLICT),
])
def test_options_without_meaning(options, reason):
    with raises(DataError, reason, "letter_box=" if "letter_box" in options else f"{next(iter(options))}= needs"):
        Augmentation(**options)


@pytest.mark.parametrize("options, mixing", [({"cutmix": 1}, 0), ({"cutmix": 1, "mosaic": 1}, 3), ({"mixup": 1}, 1),
                                             ({"mixup": 4}, 3), ({"mixup": 2}, 0), ({"mixup": 1, "mosaic": 1}, 3)])
def test_what_is_mixed(options, mixing):
    assert Augmentation(**options).mixing == mixing


@pytest.mark.parametrize("jitter, edges", [(.9, (1, 1, 1, 1)), (1.2, (1, 0, .5, .5)), (1.2, (.5, .5, 0, 1))])
def test_jitter_that_leaves_nothing_is_dropped(jitter, edges):
    picture, rows = picture_of(Augmentation(jitter=jitter), PLAIN._replace(edges=edges))
    assert (picture == (40, 90, 200)).all()
    np.testing.assert_allclose(rows, [[0, .5, .5, .4, .4]])


CFG = "[net]\nwidth=32\nheight=32\nchannels=3\n{net}\n[conv]\nfilters={filters}\n{head}\n"
YOLO = "[yolo]\nclasses=1\nanchors=9,9\n"


@pytest.mark.parametrize("net, filters, head, expected", [
    ("flip=0\nhue=.1\nmosaic=1", 18, "[yolo]\nclasses=1\nanchors=9,9,9,9,9,9\nnum=3\njitter=.3\nresize=1.5\nmax=90",
     Augmentation(jitter=.3, resize=1.5, hue=.1, mosaic=1, max_boxes=90)),
    ("letter_box=1\nangle=7", 6, f"{YOLO}jitter=.3\n[route]\nlayers=-2\n[region]\nclasses=1\nanchors=2,2\njitter=.1",
     Augmentation(jitter=.1, letter_box=1, flip=1)),
    ("track=1\naugment_speed=3\ncontrastive=1", 6, "[connected]\noutput=3\n[detection]\nclasses=1\nside=1\njitter=.4",
     Augmentation(jitter=.4, flip=1, track=1, augment_speed=3, contrastive=1)),
])
def test_options_of_a_network(net, filters, head, expected):
    network = load_network(parse_cfg(CFG.format(net=net, filters=filters, head=head)))
    assert augmentation_of(network) == expected


@pytest.mark.parametrize("net, head, reason, message", [
    ("", "[softmax]", Reason.WRONG_TASK, "x.cfg: has no layer that detects: expected"),
    ("", f"{YOLO}resize=0", Reason.OUT_OF_RANGE, "x.cfg: resize= needs a number above 0, found 0"),
    ("mosaic=1\nletter_box=1", YOLO, Reason.CONFLICT, "x.cfg: mosaic=1 and letter_box=1 do not go together"),
])
def test_cfgs_to_refuse(net, head, reason, message):
    with raises(CfgError, reason, f"^{message}"):
        augmentation_of(load_network(parse_cfg(CFG.format(net=net, filters=6, head=head), "x.cfg")))


def test_cutmix_is_not_for_detectors():
    network = load_network(parse_cfg(CFG.format(net="cutmix=1", filters=6, head=YOLO), "x.cfg"))
    with pytest.warns(CfgWarning, match=r"x.cfg:5: \[net\] cutmix=1: cutmix is for classifiers, this .* without"):
        assert augmentation_of(network).mixing == 0


@pytest.mark.parametrize("options, edges, zoom, expected", [        # by hand, as load_data_detection has it
    ({"jitter": .2}, (0, 1, .5, .75), (.5, .5), (-64, 0, 64, 24)),
    ({"jitter": .2}, (.51, .49, .5, .5), (.5, .5), (1, 0, -1, 0)),
    ({"resize": 1.5}, (.5,) * 4, (0, 1), (-80, -60, 53, 40)),
    ({"resize": .5}, (.5,) * 4, (0, 1), (-160, -120, 0, 0)),
    ({"resize": 2}, (.5,) * 4, (0, 1), (-160, -120, 80, 60)),
    ({"letter_box": 1}, (.5,) * 4, (.5, .5), (0, -40, 0, -40)),
    ({"letter_box": 1, "jitter": .1}, (1, .5, .5, .5), (.5, .5), (32, -40, 0, -40)),
])
def test_margins_of_c(options, edges, zoom, expected):
    view = PLAIN._replace(edges=edges, zoom=zoom)
    assert margins_of(Augmentation(**options), view, WIDE, HIGH, 416, 416, None) == expected


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("tile, expected", [(0, (0, 0, -40, 10)), (1, (-40, 0, 0, 10)), (2, (0, 10, -40, 0)),
                                            (3, (-40, 10, 0, 0))])
def test_a_mosaics_middle_gets_what_jitter_changes(tile, expected, flip):
    view = PLAIN._replace(edges=(0, .6875, .5, .604167), flip=flip, corner=True)     # left -64, right 24, bottom 10
    left, top, right, bottom = margins_of(Augmentation(jitter=.2), view, WIDE, HIGH, 416, 416, tile)
    assert ((right, top, left, bottom) if flip else (left, top, right, bottom)) == expected
