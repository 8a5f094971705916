"""What a detector and a classifier take, and what they say of anything else."""
import io
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import write
from PIL import Image
from web import Page

from darknet_py import Classifier, DataError, Detections, Detector, load_network

CFG = "[net]\nwidth=8\nheight=8\nchannels=3\n[convolutional]\nfilters=3\nactivation=linear\n[avgpool]\n[softmax]\n"


@pytest.fixture(params=["detector", "classifier"])
def model(request, demo, workdir):
    if request.param == "detector":
        return Detector(*demo[:2], device="cpu")
    (workdir / "c.cfg").write_text(CFG)
    load_network("c.cfg").save_weights("c.weights")
    return Classifier("c.cfg", "c.weights", device="cpu")


GIVEN = [
    (5, "found int$"), (None, "found NoneType$"), (b"a.png", r"found bytes; PIL\.Image\.open"),
    ({"a.png"}, r"found set; stream\(\) takes iterators"),
    ({"a.png": 1}, "found dict$"),
    (io.BytesIO(b"a"), r"found BytesIO; PIL\.Image\.open\(\.\.\.\) opens a file object$"),
    ((path for path in ["a.png"]), r"found generator; stream\(\) "),
    ([None], r"^images\[0\]: expected a path, .* an array .* found NoneType$"),
    (["a", 5], r"^images\[1\]: .* found int$"),
    ([b"a"], r"^images\[0\]: expected a path, .* an array .* found bytes$"), ([["a"]], r"^images\[0\]: .* found list$"),
]


@pytest.mark.parametrize("given, says", GIVEN)
def test_no_images(model, given, says):
    with pytest.raises(TypeError, match=says):
        model(given)


@pytest.mark.parametrize("given", [5, None, b"a.png"])
def test_no_stream(model, given):
    with pytest.raises(TypeError, match=f"^expected images one after another, or one .* found {type(given).__name__}$"):
        model.stream(given)


def test_a_stream_of_a_generator(model, demo):
    """... whose wrong item ends it where it is."""
    picture = cv2.imread(str(demo[2]))
    found = [one for _, one in model.stream(image for image in (picture, demo[2], "gone.png"))]
    assert [isinstance(one, DataError) for one in found] == [False, False, True]
    stream = model.stream((image for image in (picture, None)), overlapped=False)
    next(stream)
    with pytest.raises(TypeError, match=r"^images\[1\]: "):
        next(stream)
    assert model([]) == [] and len(model((picture, np.zeros((5, 5), np.uint8)))) == 2


def results(found):
    """Of a detector or a classifier, as numbers."""
    return np.concatenate([found.boxes.ravel(), found.scores]) if isinstance(found, Detections) else found.scores


def test_forms_agree(model, demo):
    """The picture in the repository in every form, alone and in lists."""
    picture = cv2.imread(str(demo[2]))
    tensor = torch.from_numpy(picture[..., ::-1].copy()).permute(2, 0, 1)
    expected = results(model(demo[2]))
    forms = [demo[2], str(demo[2]), picture, picture / np.float32(255), Image.open(demo[2]), tensor, tensor / 255]
    for form, listed in zip(forms, model(forms), strict=True):
        for one in (model(form), listed):
            np.testing.assert_allclose(results(one), expected, atol=1e-2)
            assert one.path == (str(demo[2]) if isinstance(form, (str, Path)) else None)
    for batch in (tensor[None], torch.stack([tensor, tensor]) / 255):
        found = model(batch)
        assert len(found) == len(batch) and isinstance(found, list)
        np.testing.assert_allclose(results(found[-1]), expected, atol=1e-2)


def test_several_pictures_of_a_name(model, demo, workdir, web):
    """A folder, a pattern and a list give lists, also of one. In a list each item is one picture."""
    data = demo[2].read_bytes()
    web.pages["/c.png"] = Page(data)
    write({"p/a.png": data, "p/b.png": data, "q/a.png": data, "l.txt": f"p\\b.png\r\n{web.url}/c.png\r\n"})
    for name, paths in (("p", ["p/a.png", "p/b.png"]), ("q/*", ["q/a.png"]), (Path("q"), ["q/a.png"]),
                        ("l.txt", ["p/b.png", f"{web.url}/c.png"])):
        found = model(name)
        assert [one.path for one in found] == paths
        assert [path for path, _ in model.stream(name)] == paths
        for one in found:
            np.testing.assert_allclose(results(one), results(model("q/a.png")), atol=1e-2)
    assert model(f"{web.url}/c.png").path == f"{web.url}/c.png"
    for name in ("r/*", f"{web.url}/gone.png"):
        with pytest.raises(DataError, match=f"^{re.escape(name)}: "):
            model(name)
    found = [one for _, one in model.stream(["r/*", "p", "q", "q/a.png"])]
    assert [str(one) for one in found[:2]] == ["r/*: no file matches this pattern", "p: expected one picture, found 2"]
    assert not isinstance(found[2], DataError) and not isinstance(found[3], DataError)


@pytest.mark.parametrize("given", [np.full((9, 9, 3), 255.), torch.full((3, 9, 9), 255.), np.full((9, 9), np.nan),
                                   torch.zeros(9, 9, 3), np.zeros((9, 9, 3), int), np.zeros((3, 9, 9), np.uint8)])
def test_pixels_that_are_none(model, given):
    with pytest.raises(DataError, match=r"must (lie in \[0, 1\]|be )"):
        model(given)
    (_, one), (_, two) = model.stream([given, np.zeros((9, 9, 3), np.uint8)])
    assert isinstance(one, DataError) and not isinstance(two, DataError)


def test_arrays_of_other_shapes(model):
    for shape, says in (((3, 9, 8), r"transpose\(1, 2, 0\) puts the channels last$"), ((2, 9, 8, 3), "as a list$")):
        with pytest.raises(DataError, match=says):
            model(np.zeros(shape, np.uint8))


def test_a_stream_of_one_image(model, demo):
    picture = cv2.imread(str(demo[2]))
    for one in (picture, Image.open(demo[2]), torch.zeros(3, 9, 9), str(demo[2])):
        (_, frame), = model.stream(one)
        assert frame.image.dtype == np.uint8 and frame.image.shape[2:] == (3,)


def test_any_form_is_drawn_on(demo):
    found = Detector(*demo[:2], device="cpu")(demo[2])
    picture = cv2.imread(str(demo[2]))
    tensor = torch.from_numpy(picture[..., ::-1].copy()).permute(2, 0, 1)
    for form in (demo[2], Image.open(demo[2]), tensor, tensor / 255, picture / 255):
        assert np.array_equal(found.draw(form), found.draw(picture))


@pytest.mark.parametrize("shape", [(1, 1_000_000), (1_000_000, 1)])
@pytest.mark.parametrize("kind", ["png", "array", "jpg"])
def test_a_line_of_a_million_pixels(model, shape, kind, workdir):
    """A result within memory, or what OpenCV cannot encode."""
    image = np.full((*shape, 3), 200, np.uint8)
    if kind == "array":
        assert model(image) is not None
        return
    data = cv2.imencode(".png", image)[1] if kind == "png" else np.frombuffer(
        cv2.imencode(".jpg", np.zeros((9, 9, 3), np.uint8))[1].tobytes()[:2] + b"\xff\xc0\x00\x0b\x08\xff\xff\xff\xff"
        b"\x01\x01\x11\x00", np.uint8)
    (workdir / f"a.{kind}").write_bytes(data.tobytes())
    try:
        assert model(f"a.{kind}") is not None
    except DataError as error:
        assert str(error).startswith(f"a.{kind}: ")
