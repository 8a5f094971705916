"""What a detector and a classifier take, and what they say of anything else."""
import cv2
import numpy as np
import pytest
import torch

from darknet_py import Classifier, DataError, Detector, load_network

CFG = "[net]\nwidth=8\nheight=8\nchannels=3\n[convolutional]\nfilters=3\nactivation=linear\n[avgpool]\n[softmax]\n"


@pytest.fixture(params=["detector", "classifier"])
def model(request, demo, workdir):
    if request.param == "detector":
        return Detector(*demo[:2], device="cpu")
    (workdir / "c.cfg").write_text(CFG)
    load_network("c.cfg").save_weights("c.weights")
    return Classifier("c.cfg", "c.weights", device="cpu")


GIVEN = [
    (5, "found int$"), (None, "found NoneType$"), (b"a.png", "found bytes"), (torch.zeros(3, 9, 9), "found Tensor"),
    ({"a.png"}, r"found set; stream\(\) takes iterators"),
    ((path for path in ["a.png"]), r"found generator; stream\(\) "),
    ([None], r"^images\[0\]: expected a path, or an array .* found NoneType$"),
    (["a", 5], r"^images\[1\]: .* found int$"),
    ([b"a"], r"^images\[0\]: expected a path, or an array .* found bytes$"), ([["a"]], r"^images\[0\]: .* found list$"),
]


@pytest.mark.parametrize("given, says", GIVEN)
def test_no_images(model, given, says):
    with pytest.raises(TypeError, match=says):
        model(given)


@pytest.mark.parametrize("given", [5, None, "a.png", b"a.png"])
def test_no_stream(model, given):
    with pytest.raises(TypeError, match=f"^expected images one after another, found {type(given).__name__}$"):
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
