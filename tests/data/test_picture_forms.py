"""An image in any form: pixels as those of the file that it comes from, and what is refused."""
import io
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from conftest import raises
from PIL import Image

from darknet_py.data.given import as_uint8, decode
from darknet_py.data.image import read_image
from darknet_py.errors import DataError, Reason

pytestmark = pytest.mark.usefixtures("workdir")
RNG = np.random.default_rng(3)
RGBA = Image.fromarray(RNG.integers(0, 256, (6, 8, 4)).astype(np.uint8)).resize((40, 30), Image.Resampling.BICUBIC)
DEEP = Image.fromarray(RNG.integers(0, 65536, (30, 40)).astype(np.uint16))
PICTURES = {        # mode, format, difference of pixels
    "grey": (RGBA.convert("L"), "PNG", 0), "colour": (RGBA.convert("RGB"), "PNG", 0), "alpha": (RGBA, "PNG", 0),
    "palette": (RGBA.convert("RGB").convert("P"), "PNG", 0), "black and white": (RGBA.convert("1"), "PNG", 0),
    "grey with alpha": (RGBA.convert("LA"), "PNG", 0), "16 bits": (DEEP, "PNG", 0), "16 bits, TIFF": (DEEP, "TIFF", 0),
    "CMYK": (RGBA.convert("RGB").convert("CMYK"), "TIFF", 1), "YCbCr": (RGBA.convert("YCbCr"), "TIFF", 1),
    "JPEG": (RGBA.convert("RGB"), "JPEG", 2), "CMYK, JPEG": (RGBA.convert("RGB").convert("CMYK"), "JPEG", 3),
}


def colours(image):
    return np.broadcast_to(image[..., None], (*image.shape, 3)) if image.ndim == 2 else image


@pytest.mark.parametrize("picture, kind, most", PICTURES.values(), ids=PICTURES)
def test_a_pil_image_has_the_pixels_of_its_file(picture, kind, most):
    picture.save("a", kind)
    for one in (Image.open("a"), picture.copy() if kind != "JPEG" else Image.open("a")):
        found = decode(one)
        assert found.dtype == np.uint8
        assert np.abs(colours(found).astype(int) - read_image("a")).max() <= most


@pytest.mark.parametrize("turn", [1, 3, 6, 8])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_a_pil_image_is_turned_as_its_file_is(turn, kind):
    exif = Image.Exif()
    exif[0x0112] = turn
    RGBA.convert("RGB").save("a", kind, exif=exif)
    found, expected = decode(Image.open("a")), read_image("a")
    assert found.shape == expected.shape == ((30, 40, 3) if turn < 5 else (40, 30, 3))
    assert np.abs(found.astype(int) - expected).max() <= 2


def test_a_pil_image_of_other_modes():
    for mode in ("RGBa", "HSV", "RGBX"):
        assert np.abs(decode(RGBA.convert(mode)).astype(int) - decode(RGBA.convert("RGB"))).max() <= 255
        assert decode(RGBA.convert(mode)).shape == (30, 40, 3)
    assert np.array_equal(decode(Image.fromarray(np.asarray(DEEP).astype(np.int32))), decode(DEEP))
    for wrong, reason, says in ((RGBA.convert("F"), Reason.WRONG_FORMAT, "mode other than F"),
                                (Image.fromarray(np.full((2, 2), -1, np.int32)), Reason.OUT_OF_RANGE, "values from -1"),
                                (Image.new("RGB", (0, 5)), Reason.WRONG_FORMAT, "0 x 5")):
        with raises(DataError, reason, says):
            decode(wrong)
    RGBA.save("a.png")
    Path("a.png").write_bytes(Path("a.png").read_bytes()[:900])
    with raises(DataError, Reason.CORRUPT, "PIL image cannot be decoded"):
        decode(Image.open("a.png"))


def test_threads_may_share_a_pil_image_that_is_not_decoded_yet():
    RGBA.resize((800, 600)).save("a.png")
    for _ in range(5):
        one = Image.open("a.png")
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(decode, [one] * 8))
        assert all(np.array_equal(each, read_image("a.png")) for each in found)


ARRAY = RNG.integers(0, 256, (5, 7, 3)).astype(np.uint8)            # BGR
TENSOR = torch.from_numpy(ARRAY[..., ::-1].copy()).permute(2, 0, 1)     # RGB


@pytest.mark.parametrize("tensor, dtype", [
    (TENSOR, np.uint8), (TENSOR[None], np.uint8), (TENSOR.float() / 255, np.float32),
    (TENSOR.double() / 255, np.float32), ((TENSOR.float() / 255).requires_grad_(), np.float32),
    (TENSOR.flip(2).flip(2), np.uint8)])
def test_a_tensor_is_rgb(tensor, dtype):
    found = decode(tensor)
    assert found.dtype == dtype and found.shape == (5, 7, 3) and found.flags.c_contiguous
    assert np.array_equal(as_uint8(found), ARRAY)


def test_low_precision_and_grey_tensors():
    assert np.abs(as_uint8(decode((TENSOR.float() / 255).bfloat16())).astype(int) - ARRAY).max() <= 1
    assert np.array_equal(decode(TENSOR[:1])[..., 0], ARRAY[..., 2])
    for dtype in (np.float16, np.float32, np.float64):
        assert np.array_equal(as_uint8(decode((ARRAY / 255).astype(dtype))), ARRAY)
    assert np.array_equal(as_uint8(ARRAY.astype(np.uint16) * 257), ARRAY) and as_uint8(ARRAY) is ARRAY


@pytest.mark.parametrize("given, reason, says", [
    (ARRAY.astype(np.float32), Reason.OUT_OF_RANGE, r"^an array of floats must lie in \[0, 1\], found values from \d+ "
     r"to \d+; divide by 255, or give uint8$"),
    (TENSOR.float(), Reason.OUT_OF_RANGE, "^a tensor of floats .* divide by 255"),
    (TENSOR / 127.5 - 1, Reason.OUT_OF_RANGE, "found values from -.* before it is normalized$"),
    (np.full((4, 4, 3), np.nan), Reason.OUT_OF_RANGE, "found nan$"),
    (torch.full((3, 4, 4), float("nan")), Reason.OUT_OF_RANGE, "found nan$"),
    (torch.full((3, 4, 4), float("inf")), Reason.OUT_OF_RANGE, "found values from inf"),
    (TENSOR.permute(1, 2, 0), Reason.SHAPE_MISMATCH, r"\(5, 7, 3\); permute\(2, 0, 1\) puts"),
    (TENSOR[0], Reason.SHAPE_MISMATCH, r"got the shape \(5, 7\)$"),
    (torch.zeros(2, 3, 4, 4), Reason.SHAPE_MISMATCH, "got the shape"),
    (TENSOR.long(), Reason.WRONG_FORMAT, "got int64$"),
])
def test_what_is_refused(given, reason, says):
    with raises(DataError, reason, says):
        decode(given)


@pytest.mark.parametrize("given", [None, 5, b"a.png", [ARRAY], io.BytesIO()])
def test_what_is_no_image_at_all(given):
    with pytest.raises(TypeError, match=rf"^expected a path, folder, .* found {type(given).__name__}$"):
        decode(given)


def test_rounding_is_no_fault():
    assert decode(np.full((2, 2), 1.0005, np.float32)).dtype == np.float32 and as_uint8(decode(
        np.array([[-.0005, 1.0005]]))).tolist() == [[0, 255]]


def test_names(monkeypatch):
    """One picture, by whatever name."""
    cv2.imwrite("a.png", ARRAY)
    os.mkdir("p")
    for name in ("a.png", Path("a.png"), "file://" + os.path.abspath("a.png"), "*.png", "l.txt"):
        Path("l.txt").write_text("a.png\n")
        assert np.array_equal(decode(name), ARRAY)
    assert decode("a.png", 1).shape == (5, 7, 1)
    cv2.imwrite("b.png", ARRAY)
    for name, reason, says in (("*.png", Reason.WRONG_COUNT, r"^\*\.png: expected one picture, found 2$"),
                               ("p", Reason.EMPTY, "^p: found no pictures in this folder$"),
                               ("*.jpg", Reason.EMPTY, "no file matches"), ("c.png", Reason.MISSING_FILE, "^c.png: "),
                               ("ftp://a/b.png", Reason.WRONG_FORMAT, "^ftp://a/b.png: expected an URL of http or")):
        with raises(DataError, reason, says):
            decode(name)


def test_the_standard_input(monkeypatch):
    data = cv2.imencode(".png", ARRAY)[1].tobytes()

    def typed(data, terminal=False):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data), isatty=lambda: terminal))

    typed(data)
    assert np.array_equal(decode("-"), ARRAY)
    for wrong, terminal, says in ((b"", False, "^the standard input: the image file is empty"),
                                  (b"no picture", False, "^the standard input: not an image"),
                                  (data, True, "^-: expected the bytes .* found a terminal$")):
        typed(wrong, terminal)
        with pytest.raises(DataError, match=says):
            decode("-")
    Path("-").write_bytes(data)             # a file of that name wins
    assert np.array_equal(decode("-"), ARRAY)
