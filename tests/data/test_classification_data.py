"""Pictures for classifiers: labels, augmentation, mixing, lists, accuracy."""
from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch
from conftest import raises
from pictures import classifier_set

from darknet_py.cfg.language import parse_cfg
from darknet_py.data.classification import SECRET_NUM, ClassifierPictures
from darknet_py.data.classifier_augment import CUTMIX, EITHER, MIXUP, MOSAIC, ClassifierAugmentation, cut_out
from darknet_py.data.image import to_tensor
from darknet_py.errors import CfgError, DataError, Reason
from darknet_py.model.network import Network
from darknet_py.training.augmentation import classifier_augmentation_of

NAMES = ("ape", "bear", "cat", "dog")
LEVELS = (0, 80, 160, 240)          # the grey of each class's picture
SIZE = 32
PLAIN = {"min_crop": SIZE, "max_crop": SIZE, "flip": 0}
TREE = (-1, -1, 0, 0)               # ape above cat and dog; bear has no children


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A picture of one grey for each class."""
    folder = tmp_path_factory.mktemp("pictures")
    for name, level in zip(NAMES, LEVELS, strict=True):
        cv2.imwrite(str(folder / f"{name}.png"), np.full((SIZE, SIZE, 3), level, np.uint8))
    return folder


def pictures(folder, **options) -> ClassifierPictures:
    more = {key: options.pop(key) for key in ("parents", "channels") if key in options}
    return ClassifierPictures([f"{name}.png" for name in NAMES], NAMES, len(NAMES),
                              ClassifierAugmentation(**PLAIN | options), folder=folder, **more)


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("mixup", range(5))
@pytest.mark.parametrize("eps", [0, .1])
@pytest.mark.parametrize("contrastive", [0, 1])
def test_truths_add_up_to_one(folder, mixup, eps, contrastive):
    found = pictures(folder, mixup=mixup, label_smooth_eps=eps, contrastive=contrastive)
    images, truth = found.load([0, 1, 2, 3] * 3, rng(), SIZE, 24)
    assert images.shape == (12 * (1 + contrastive), 3, 24, SIZE) and images.dtype == torch.float32
    assert images.min() >= 0 and images.max() <= 1
    torch.testing.assert_close(truth.sum(1), torch.ones(len(truth)))
    assert truth.min() >= eps / 3 - 1e-6 and not found.problems


@pytest.mark.parametrize("way", [CUTMIX, MOSAIC, EITHER])
def test_truth_is_the_share_of_pixels(folder, way):
    images, truth = pictures(folder, mixup=way).load(list(range(4)) * 10, rng(), 30, 20)
    levels = (images[:, 0] * 255).round()
    shares = torch.stack([(levels == level).float().mean((1, 2)) for level in LEVELS], 1)
    torch.testing.assert_close(truth, shares)
    assert 8 < (truth.amax(1) == 1).sum() < 36          # the others are mixed
    assert ((truth > 0).sum(1).amax() > 2) == (way != CUTMIX)


def test_mixup_is_the_mean(folder):
    images, truth = pictures(folder, mixup=MIXUP).load(list(range(4)) * 10, rng(), SIZE, SIZE)
    torch.testing.assert_close(images.mean((1, 2, 3)) * 255, truth @ torch.tensor(LEVELS, dtype=torch.float32))
    assert set(truth.flatten().tolist()) == {0, .5, 1}


@pytest.mark.parametrize("options", [{}, {
    "mixup": 4, "angle": 20, "aspect": 1.5, "hue": .1, "saturation": 1.5, "exposure": 1.5, "flip": 1, "blur": 1,
    "gaussian_noise": 9, "contrastive": 1, "max_crop": 60}])
def test_a_picture_depends_on_its_generator_alone(folder, options):
    found = pictures(folder, **options)
    first, second = (found.load([1, 2], rng((5, 3)), SIZE, SIZE) for _ in range(2))
    assert all(torch.equal(*pair) for pair in zip(first, second, strict=True))
    alone = [found.load([index], rng((5, 3, index)), SIZE, SIZE)[0] for index in (1, 2)]
    again = [found.load([index], rng((5, 3, index)), SIZE, SIZE)[0] for index in (2, 1)]
    assert torch.equal(alone[0], again[1]) and torch.equal(alone[1], again[0])
    if options:
        assert not torch.equal(first[0], found.load([1, 2], rng((5, 4)), SIZE, SIZE)[0])


def test_two_views_of_a_picture_stand_next_to_each_other(folder):
    images, truth = pictures(folder, contrastive=1, exposure=2).load([1, 2, 3], rng(), SIZE, SIZE)
    assert truth.argmax(1).tolist() == [1, 1, 2, 2, 3, 3]
    assert all(not torch.equal(one, other) for one, other in images.unflatten(0, (3, 2)))


def test_blur_and_noise_meet_their_share_of_pictures(tmp_path):
    cv2.imwrite(str(tmp_path / "ape.png"), rng().integers(60, 180, (SIZE, SIZE, 3), np.uint8))
    def changed(**options):
        found = ClassifierPictures(["ape.png"], NAMES, 4, ClassifierAugmentation(**PLAIN | options), folder=tmp_path)
        images = found.load([0] * 200, rng(), SIZE, SIZE)[0]
        return images - ClassifierPictures(["ape.png"], NAMES, 4, folder=tmp_path).load([0], rng(), SIZE, SIZE)[0]

    blurred, noisy = changed(blur=5), changed(gaussian_noise=20)
    assert not changed().any()
    assert .15 < blurred.flatten(1).any(1).float().mean() < .35
    assert .4 < noisy.flatten(1).any(1).float().mean() < .6 and noisy.min() >= 0


def plain_cut(image: np.ndarray, size: int, scale: float, angle: float, aspect: float, x: float, y: float
              ) -> np.ndarray:
    """Each pixel of rotate_crop_image on its own; 0 outside the picture."""
    rows, columns = image.shape
    found = np.zeros((size, size))
    for v in range(size):
        for u in range(size):
            across, down = (u - size / 2 + x) / scale * aspect, (v - size / 2 + y) / scale
            at = (math.cos(angle) * across - math.sin(angle) * down + columns / 2,
                  math.sin(angle) * across + math.cos(angle) * down + rows / 2)
            for row, column in np.ndindex(2, 2):
                i, j = math.floor(at[1]) + row, math.floor(at[0]) + column
                if 0 <= i < rows and 0 <= j < columns:
                    found[v, u] += image[i, j] * (1 - abs(at[1] - i)) * (1 - abs(at[0] - j))
    return found


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("high, wide", [(40, 60), (50, 35)])
def test_cut_is_that_of_c(high, wide, seed):
    y, x = np.mgrid[:high, :wide]
    image = np.rint(127 + 60 * np.sin(x / 5) + 60 * np.cos(y / 7)).astype(np.uint8)
    a = ClassifierAugmentation(min_crop=28, max_crop=44, angle=25, aspect=1.4, flip=0)
    drawn = rng(seed)
    found = cut_out(a, image, drawn, 24, 24)
    draws = rng(seed)
    more, divide = draws.random(2)
    aspect = 1 + more * .4
    aspect = 1 / aspect if divide < .5 else aspect
    scale = int(draws.integers(28, 45)) / int(min(high, wide * aspect))
    angle = math.radians(25 * draws.uniform(-1, 1))
    dx, dy = (draws.uniform(-1, 1) * max(0, (length * scale - 24) / 2) for length in (wide / aspect, high))
    np.testing.assert_allclose(found, plain_cut(image, 24, scale, angle, aspect, dx, dy), atol=4)


def test_flip_is_for_half_of_the_pictures(tmp_path):
    ramp = np.broadcast_to(np.arange(SIZE, dtype=np.uint8)[None, :, None] * 4, (SIZE, SIZE, 3))
    cv2.imwrite(str(tmp_path / "ape.png"), ramp)
    found = ClassifierPictures(["ape.png"], NAMES, 4, ClassifierAugmentation(**PLAIN | {"flip": 1}), folder=tmp_path)
    images = found.load([0] * 100, rng(), SIZE, SIZE)[0]
    mirrored = images[:, 0, 0, 0] > images[:, 0, 0, -1]
    assert 30 < mirrored.sum() < 70
    torch.testing.assert_close(images[mirrored][0].flip(2), images[~mirrored][0])


@pytest.mark.parametrize("index, eps, expected", [
    (0, 0, [1, 0, SECRET_NUM, SECRET_NUM]),
    (1, .1, [.1, .9, SECRET_NUM, SECRET_NUM]),
    (2, 0, [1, 0, 1, 0]),
    (3, .1, [.9, .1, .1, .9]),
])
def test_truth_down_a_tree(folder, index, eps, expected):
    _, truth = pictures(folder, parents=TREE, label_smooth_eps=eps).load([index], rng(), SIZE, SIZE)
    torch.testing.assert_close(truth[0], torch.tensor(expected, dtype=torch.float32))


def test_mixed_truths_down_a_tree_know_what_one_part_knows(folder):
    _, truth = pictures(folder, parents=TREE, mixup=MIXUP).load(list(range(4)) * 10, rng(), SIZE, SIZE)
    groups = truth.unflatten(1, (2, 2))
    known = (groups != SECRET_NUM).all(2)
    assert ((groups == SECRET_NUM).all(2) | known).all() and known[:, 0].all()
    torch.testing.assert_close(groups[known].sum(1), torch.ones(int(known.sum())))
    assert ((truth[:, 0] == .5) & (truth[:, 2] == 1)).any()         # cat and bear: below ape it is a cat


def test_classes_in_paths_and_what_is_noted(folder):
    for name in ("hotdog_ape", "thing"):
        cv2.imwrite(str(folder / f"{name}.png"), np.zeros((4, 4, 3), np.uint8))
    (folder / "dog_broken.png").write_bytes(b"no picture")
    found = ClassifierPictures(["hotdog_ape.png", "thing.png", "dog_broken.png", "cat.png"], NAMES, 4,
                               ClassifierAugmentation(**PLAIN), folder=folder)
    for _ in range(2):
        _, truth = found.load([0, 1, 2, 3], rng(), SIZE, SIZE)
    assert truth.tolist() == [[1, 0, 0, 1], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0]]
    assert [found.label(index) for index in range(4)] == [0, -1, 3, 2]
    assert [(problem.path.name, problem.error) for problem in found.problems] == \
        [("hotdog_ape.png", False), ("thing.png", False), ("dog_broken.png", True)]
    assert "names 2 classes (ape, dog)" in str(found.problems[0])
    with raises(DataError, Reason.UNREADABLE, r"neither this picture nor the next 0 can be read.*not an image"):
        ClassifierPictures(["dog_broken.png"], NAMES, 4, folder=folder).load([0], rng(), SIZE, SIZE)


def test_without_labels_classes_are_arbitrary_but_fixed(folder):
    paths = [f"{name}.png" for name in NAMES]
    found = ClassifierPictures(paths, None, 3, ClassifierAugmentation(**PLAIN), folder=folder)
    first, second = (found.load(range(4), rng(seed), SIZE, SIZE)[1] for seed in range(2))
    assert torch.equal(first, second) and first.sum(1).tolist() == [1] * 4


@pytest.mark.parametrize("high, wide", [(40, 60), (60, 40), (20, 20), (10, 30)])
def test_validation_takes_the_middle(tmp_path, high, wide):
    """resize_min makes the shorter side as long as the network is wide."""
    image = rng().integers(0, 256, (high, wide, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "cat.png"), image)
    found = ClassifierPictures(["cat.png"], NAMES, 4, folder=tmp_path)
    images, truth = found.load([0], rng(), 20, 20)
    assert images.shape == (1, 3, 20, 20) and truth.tolist() == [[0, 0, 1, 0]]
    if min(high, wide) == 20:
        assert torch.equal(images[0], to_tensor(image))
    elif (high, wide) == (40, 60):
        x = torch.nn.functional.interpolate(to_tensor(image)[None], size=(20, 30), mode="bilinear", align_corners=True)
        torch.testing.assert_close(images[0], x[0, :, :, 5:25])


def test_grey(folder):
    images, _ = pictures(folder, channels=1, exposure=1.5, mixup=EITHER).load([0, 3], rng(), 16, 16)
    assert images.shape == (2, 1, 16, 16)


@pytest.fixture
def made(workdir):
    classifier_set("set", 24, 12, 32)
    return workdir / "set"


@pytest.mark.parametrize("split, count", [("train", 24), ("valid", 12)])
def test_a_data_file(made, split, count):
    found = ClassifierPictures.from_data(made / "pictures.data", split)
    images, truth = found.load(range(len(found)), rng(), 32, 32)
    assert len(found) == count and not found.problems
    assert len({image.numpy().tobytes() for image in images}) == count
    assert truth.sum(0).tolist() == [count / 6] * 6
    assert truth.argmax(1).tolist() == [found.label(index) for index in range(count)]


def test_folder_as_a_list(made):
    (made / "folder.data").write_text("classes=6\ntrain=train\nnames=pictures.names\n")
    found = ClassifierPictures.from_data(made / "folder.data", "valid")
    assert len(found) == 24 and found.load([0], rng(), 32, 32)[1].sum() == 1


@pytest.mark.parametrize("text, reason, message", [
    ("train=train.txt\nclasses=6\n", Reason.MISSING_KEY, r"expected train= and labels=, found train, classes"),
    ("train=train.txt\nlabels=pictures.names\nclasses=9\n", Reason.WRONG_COUNT,
     r"expected names for 9 classes, found 6"),
    ("train=train.txt\nlabels=pictures.names\nclasses=many\n", Reason.BAD_VALUE,
     r"expected classes= and a number above 0, found 'many'"),
    ("train=nowhere.txt\nlabels=pictures.names\n", Reason.MISSING_FILE, r"nowhere.txt: cannot read"),
    ("train=empty.txt\nlabels=pictures.names\n", Reason.EMPTY, r"empty.txt\): expected pictures, found none"),
])
def test_faulty_data_files(made, text, reason, message):
    (made / "empty.txt").write_text("\n\n")
    (made / "faulty.data").write_text(text)
    with raises(DataError, reason, message):
        ClassifierPictures.from_data(made / "faulty.data")


CFG = "[net]\nwidth=20\nheight=20\nchannels=3\n{}[conv]\nfilters=4\n[avg]\n[softmax]\n"


@pytest.mark.parametrize("text, expected", [
    ("", {"min_crop": 20, "max_crop": 40, "mixup": 0}),
    ("cutmix=1\nangle=7\nmin_crop=30\n", {"mixup": CUTMIX, "angle": 7, "min_crop": 30}),
    ("mosaic=1\nlabel_smooth_eps=0.1\n", {"mixup": MOSAIC, "label_smooth_eps": .1}),
    ("mosaic=1\ncutmix=1\nmixup=1\n", {"mixup": EITHER}),
])
def test_augmentation_of_a_cfg(text, expected):
    found = classifier_augmentation_of(Network(parse_cfg(CFG.format(text))))
    assert {key: getattr(found, key) for key in expected} == expected


@pytest.mark.parametrize("text", ["aspect=0", "mixup=9", "label_smooth_eps=1", "min_crop=0", "exposure=-1"])
def test_augmentation_that_makes_no_sense(text):
    with raises(CfgError, Reason.OUT_OF_RANGE, f"{text.split('=')[0]}.* need"):
        classifier_augmentation_of(Network(parse_cfg(CFG.format(text + "\n"))))
