"""Images: files of all kinds, and C's resizing. The constants were measured with image.c and yolo_layer.c at -O1."""
from __future__ import annotations

import re
import struct
import zlib

import cv2
import numpy as np
import pytest
import torch
from conftest import raises

from darknet_py.data import image as module
from darknet_py.data.image import (
    CV_FLAGS,
    decode_file,
    letterbox,
    letterbox_size,
    read_image,
    resize,
    size_in_header,
    to_tensor,
    undo_letterbox,
)
from darknet_py.errors import DataError, Reason


def picture(channels: int = 3, dtype=np.uint8) -> np.ndarray:
    """(8, 12, channels), smooth, with every channel different."""
    y, x = np.mgrid[0:8, 0:12]
    planes = [y * 20 + x * 3, 200 - y * 9 - x * 5, x * 15 + 20, 255 - y * 30][:channels]
    return (np.stack(planes, 2) * (257 if dtype == np.uint16 else 1)).astype(dtype)


def save(path, image: np.ndarray):
    path.write_bytes(cv2.imencode(path.suffix, image)[1].tobytes())
    return path


def ramp(width: int, height: int) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return ((y * 7 + x * 3) % 11 / 10)[None]


@pytest.mark.parametrize("name, source, dtype", [
    ("a.png", 3, np.uint8), ("a.bmp", 3, np.uint8), ("a.ppm", 3, np.uint8), ("bläu 犬.png", 3, np.uint8),
    ("deep.png", 3, np.uint16), ("alpha.png", 4, np.uint8), ("both.png", 4, np.uint16),
])
def test_read_colour(tmp_path, name, source, dtype):
    image = read_image(save(tmp_path / name, picture(source, dtype)))
    assert image.dtype == np.uint8
    assert np.array_equal(image, picture())


def test_read_grey(tmp_path):
    grey = picture(1)
    assert np.array_equal(read_image(save(tmp_path / "grey.png", grey), channels=1), grey)
    assert np.array_equal(read_image(save(tmp_path / "grey.png", grey)), grey.repeat(3, 2))
    assert read_image(save(tmp_path / "colour.png", picture()), channels=1).shape == (8, 12, 1)
    with pytest.raises(ValueError, match="channels must be 1 or 3, got 4"):
        read_image(tmp_path / "grey.png", channels=4)


def test_read_applies_the_exif_orientation(tmp_path):
    jpeg = cv2.imencode(".jpg", picture())[1].tobytes()
    exif = b"Exif\0\0" + b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)     # 6: turn to the right
    (tmp_path / "turned.jpg").write_bytes(jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:])
    (tmp_path / "plain.jpg").write_bytes(jpeg)
    assert np.array_equal(read_image(tmp_path / "turned.jpg"), np.rot90(read_image(tmp_path / "plain.jpg"), -1))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("parameters", [[], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1], [cv2.IMWRITE_JPEG_RST_INTERVAL, 4]],
                         ids=["baseline", "progressive", "restarts"])
@pytest.mark.parametrize("left, read", [(-1, True), (-2, True), (-20, True), (-1000, True), (.9, True), (.5, True),
                                        (100, False), (20, False), (2, False)])
def test_jpeg_that_is_cut_off(tmp_path, capfd, left, read, parameters, channels):
    """What imread reads, as C does, is read with the same pixels; libjpeg's own line is all that is said."""
    noise = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (128, 160, 3), np.uint8), (0, 0), 1)
    whole = cv2.imencode(".jpg", noise, parameters)[1].tobytes()
    path = tmp_path / "cut.jpg"
    path.write_bytes(whole[:int(left * len(whole)) if isinstance(left, float) else left])
    capfd.readouterr()
    if read:
        found, cut = decode_file(path, channels)
        said = "".join(capfd.readouterr()).splitlines()
        assert cut and set(said) <= {"Corrupt JPEG data: premature end of data segment"}
        assert np.array_equal(found.squeeze(), cv2.imread(str(path), CV_FLAGS[channels]))
        assert np.array_equal(found, read_image(path, channels))
    else:
        assert cv2.imread(str(path), CV_FLAGS[channels]) is None
        with raises(DataError, Reason.CORRUPT,
                    rf"^{re.escape(str(path))}: not an image, or a broken one \(\d+ bytes\)$"):
            read_image(path, channels)


def test_a_whole_jpeg_is_not_cut_off(tmp_path):
    path = save(tmp_path / "whole.jpg", picture())
    found, cut = decode_file(path)
    assert not cut and np.array_equal(found, cv2.imread(str(path)))


@pytest.mark.parametrize("content, reason", [
    (None, Reason.MISSING_FILE),
    (b"", Reason.EMPTY),
    (b"hello", Reason.CORRUPT),
    (b"\x89PNG\r\n\x1a\n" + bytes(50), Reason.CORRUPT),
    ("half.png", Reason.CORRUPT),
    ("half.bmp", Reason.CORRUPT),
    ("half.webp", Reason.CORRUPT),
])
def test_bad_files_are_one_line(tmp_path, capfd, content, reason):
    path = tmp_path / "bad.jpg"
    if isinstance(content, str):
        whole = save(tmp_path / content, picture()).read_bytes()
        content = whole[:len(whole) // 2]
    if content is not None:
        path.write_bytes(content)
    with raises(DataError, reason) as caught:
        read_image(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)
    said = "".join(capfd.readouterr()).splitlines()
    assert [line for line in said if not line.startswith("libpng error")] == []


def test_a_folder_is_no_image(tmp_path):
    with raises(DataError, Reason.UNREADABLE):
        read_image(tmp_path)


RGB = torch.from_numpy(picture()[..., ::-1].transpose(2, 0, 1) / 255).float()
GREY = torch.from_numpy(picture(1).transpose(2, 0, 1) / 255).float()


@pytest.mark.parametrize("image, expected", [
    (picture(), RGB),
    (picture(4), RGB),
    (picture(dtype=np.uint16), RGB),
    (picture(dtype=np.uint16).astype(">u2"), RGB),
    ((picture() / 255).astype(np.float32), RGB),
    (picture() / 255, RGB),
    (picture()[::-1], RGB.flip(1)),
    (picture()[:, ::2], RGB[:, :, ::2]),
    (picture(1), GREY),
    (picture(1)[..., 0], GREY),
    (picture(1, np.uint16), GREY),
    (picture(1)[..., 0] / 255, GREY),
])
def test_to_tensor(image, expected):
    image.setflags(write=False)
    x = to_tensor(image)
    assert x.dtype == torch.float32 and x.is_contiguous()
    torch.testing.assert_close(x, expected, rtol=0, atol=1e-7)


def test_to_tensor_copies():
    image = picture(1).astype(np.float32)
    before = to_tensor(image)
    image[:] = 0
    assert before.max() > 0


@pytest.mark.parametrize("image, reason", [
    (None, Reason.WRONG_FORMAT),
    (np.zeros(3, np.uint8), Reason.SHAPE_MISMATCH),
    (np.zeros((2, 3, 2), np.uint8), Reason.SHAPE_MISMATCH),
    (np.zeros((1, 2, 3, 3), np.uint8), Reason.SHAPE_MISMATCH),
    (np.zeros((0, 3, 3), np.uint8), Reason.EMPTY),
    (np.zeros((2, 3), np.int64), Reason.WRONG_FORMAT),
    (np.zeros((2, 3), bool), Reason.WRONG_FORMAT),
])
def test_to_tensor_refuses(image, reason):
    with raises(DataError, reason):
        to_tensor(image)


@pytest.mark.parametrize("source, target, expected", [
    ((3, 2), (5, 4), [0, .15, .3, .45, .6, .233333, .383333, .533333, .5, .466667,
                      .466667, .616667, .766667, .55, .333333, .7, .85, 1, .6, .2]),
    ((5, 4), (3, 2), [0, .6, .1, 1, .5, 0]),
    ((1, 3), (4, 5), [0, 0, 0, 0, .35, .35, .35, .35, .7, .7, .7, .7, .5, .5, .5, .5, .3, .3, .3, .3]),
    ((4, 1), (2, 3), [0, .9, 0, .9, 0, .9]),
    ((5, 3), (1, 3), [.1, .8, .4]),
    ((2, 2), (2, 3), [0, .3, .35, .65, .7, 1]),
    ((4, 1), (4, 1), [0, .3, .6, .9]),
])
def test_resize_is_that_of_c(source, target, expected):
    y = resize(ramp(*source), *target)
    assert y.shape == (1, target[1], target[0])
    torch.testing.assert_close(y.flatten(), torch.tensor(expected, dtype=torch.float32), rtol=0, atol=1e-6)


@pytest.mark.parametrize("source, target, above, last", [
    ((640, 427), (8, 416), [.510596, .39631, .282024, .320715, .053452, .551098, .895746, .781458],
     [.099997, .771406, .342848, .857118, .742833, .628548, .514273, .399988]),
    ((427, 333), (9, 320), [.67146, .191309, .743884, .241309, .77146, .291309, .82146, .341309, .87146],
     [2.1e-05, 5e-06, 2.3e-05, 7e-06, 2.4e-05, 8e-06, 2.6e-05, 1e-05, 2.7e-05]),
])
def test_the_last_row_suffers_from_rounding_as_in_c(source, target, above, last):
    y = resize(ramp(*source), *target)
    torch.testing.assert_close(y[0, -2:], torch.tensor([above, last]), rtol=0, atol=1e-6)


def test_resize_to_a_height_of_one_is_defined():
    assert resize(ramp(4, 3), 4, 1).tolist() == ramp(4, 3)[:, -1:].tolist()
    assert resize(ramp(4, 3), 1, 1).tolist() == ramp(4, 3)[:, -1:, -1:].tolist()


@pytest.mark.parametrize("source, target, expected", [
    ((4, 2), (5, 5), [.5, .5, .5, .5, .5, 0, .225, .45, .675, .9, .7, .925, .6, .275, .5] + [.5] * 10),
    ((2, 5), (6, 4), [.5, .5, .3, .5, .5, .5, .5, .5, .866667, .5, .5, .5,
                      .5, .5, .333333, .5, .5, .5, .5, .5, .9, .5, .5, .5]),
])
def test_letterbox_is_that_of_c(source, target, expected):
    y = letterbox(ramp(*source), *target)
    assert y.shape == (1, target[1], target[0])
    torch.testing.assert_close(y.flatten(), torch.tensor(expected), rtol=0, atol=1e-6)


@pytest.mark.parametrize("image, target, expected", [
    ((768, 576), (416, 416), (416, 312)),
    ((333, 500), (320, 320), (213, 320)),
    ((640, 427), (608, 352), (527, 352)),
    ((416, 416), (416, 416), (416, 416)),
    ((1000, 2), (416, 416), (416, 1)),
    ((2, 1000), (416, 416), (1, 416)),
])
def test_letterbox_size(image, target, expected):
    assert letterbox_size(*image, *target) == expected
    assert letterbox(torch.zeros(1, image[1], image[0]), *target).eq(0).sum() == expected[0] * expected[1]


@pytest.mark.parametrize("image, target, expected", [
    ((768, 576), (416, 416), [.5, .5, .25, .166667, .1, 1.033333, .3, .266667]),
    ((333, 500), (320, 320), [.5, .5, .375587, .125, -.100939, .9, .450704, .2]),
    ((1000, 3), (416, 416), [.5, .5, .25, 51.999996, .1, 166.899979, .3, 83.199997]),
    ((640, 427), (608, 352), [.5, .5, .288425, .125, .03852, .9, .34611, .2]),
])
def test_undo_letterbox_is_correct_yolo_boxes(image, target, expected):
    boxes = torch.tensor([[.5, .5, .25, .125], [.1, .9, .3, .2]])
    torch.testing.assert_close(undo_letterbox(boxes, *image, *target).flatten(), torch.tensor(expected),
                               rtol=1e-5, atol=1e-6)
    assert undo_letterbox(boxes[:0], *image, *target).shape == (0, 4)


@pytest.mark.parametrize("fit", [resize, letterbox])
@pytest.mark.parametrize("size", [(333, 20, 11, 320), (20, 33, 7, 20), (9, 8, 1, 1), (1, 1, 5, 4), (6, 5, 6, 5),
                                  (2, 60, 40, 30), (30, 40, 60, 80)])
def test_large_pictures_are_sampled(fit, size, monkeypatch):
    """The same numbers, up to rounding, without a conversion of the whole picture."""
    rows, columns, width, height = size
    image = np.random.default_rng(0).integers(0, 256, (rows, columns, 3), np.uint8)
    whole = fit(image, width, height)
    monkeypatch.setattr(module, "LARGE", -1)
    monkeypatch.setattr(module, "F", None)
    torch.testing.assert_close(fit(image, width, height), whole, rtol=0, atol=1e-5)


def bomb(side: int) -> bytes:
    """A PNG of side x side pixels, of one bit each and all the same."""
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(side // 8 + 1)) for _ in range(side)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)) \
        + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_bombs_are_not_decoded(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(bomb(20_000))
    assert (tmp_path / "a.png").stat().st_size < 60_000
    with raises(DataError, Reason.TOO_LARGE, r"a.png: expected an image of at most 178956970 pixels, found "
                                             "20000 x 20000; DARKNET_PY_MAX_IMAGE_PIXELS"):
        read_image(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(bomb(200))
    assert read_image(tmp_path / "b.png").shape == (200, 200, 3)
    monkeypatch.setattr(module, "MAX_PIXELS", 39_999)
    with raises(DataError, Reason.TOO_LARGE, "found 200 x 200"):
        read_image(tmp_path / "b.png")


@pytest.mark.parametrize("extension", ["png", "jpg", "bmp", "ppm", "pgm", "tiff", "webp"])
def test_sizes_are_read_before_pictures(extension, tmp_path):
    image = picture(1 if extension == "pgm" else 3)
    path = save(tmp_path / f"a.{extension}", image)
    assert size_in_header(np.fromfile(path, np.uint8)) == (12, 8)
    assert size_in_header(np.frombuffer(path.read_bytes()[:5], np.uint8)) == (0, 0)


@pytest.mark.parametrize("data", [b"", b"<svg height='9'/>", b"\xff\xd8\xff", b"II*\0\xff\xff\xff\xff", b"RIFF"])
def test_sizes_of_what_is_no_picture(data):
    assert size_in_header(np.frombuffer(data, np.uint8)) == (0, 0)


def progressive(scans: int, comments: int = 0) -> bytes:
    """A progressive JPEG with this many scans more than libjpeg writes, and comments that look like scans."""
    data = cv2.imencode(".jpg", picture(), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    last = data.rindex(b"\xff\xda")
    comment = b"\xff\xfe\x00\x06\xff\xda\xff\xda"
    return data[:2] + comment * comments + data[2:last] + data[last:last + 14] * scans + data[last:]


@pytest.mark.parametrize("scans, comments, good", [
    (0, 0, True), (150, 0, True), (250, 0, False), (0, 500, True), (0, 20_000, False)])
def test_jpegs_whose_scans_never_end_are_not_decoded(tmp_path, scans, comments, good):
    path = tmp_path / "a.jpg"
    path.write_bytes(progressive(scans, comments) + b"\xff\xda" * 300)        # what is behind the end does not count
    if good:
        assert read_image(path).shape == (8, 12, 3)
    else:
        with raises(DataError, Reason.TOO_LARGE, "at most 200 scans"):
            read_image(path)
