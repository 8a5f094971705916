"""``compat``: scripts for Darknet's own Python binding, as they use it."""
import random

import cv2
import numpy as np
import pytest

from darknet_py import DarknetError, Detector
from darknet_py import compat as darknet


@pytest.fixture
def loaded(demo, tmp_path):
    """(network, names, colours, picture) of the demonstration."""
    names = demo[0].with_suffix(".names")
    (tmp_path / "a.data").write_text(f"classes={len(names.read_text().split())}\nnames={names}\n")
    random.seed(3)
    network, names, colors = darknet.load_network(str(demo[0]), str(tmp_path / "a.data"), str(demo[1]), batch_size=2)
    return network, names, colors, demo[2]


def input_of(network, path):
    """A picture as darknet_images.py hands it over: stretched to the network's size by OpenCV."""
    size = darknet.network_width(network), darknet.network_height(network)
    return cv2.resize(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB), size, interpolation=cv2.INTER_LINEAR)


def test_one_image(loaded, demo):
    network, names, colors, path = loaded
    pixels = input_of(network, path)
    image = darknet.make_image(*pixels.shape[1::-1], 3)
    darknet.copy_image_from_bytes(image, pixels.tobytes())
    found = darknet.detect_image(network, names, image, thresh=.25)
    darknet.free_image(image)
    expected = Detector(*demo[:2], device="cpu")(pixels[..., ::-1].copy())
    assert [float(one[1]) for one in sorted(found, key=lambda one: -float(one[1]))] == [
        round(score * 100, 2) for score in expected.scores.tolist()]
    assert [one[1] for one in found] == sorted(one[1] for one in found) and isinstance(found[0][1], str)    # as text
    name, _, box = max(found, key=lambda one: float(one[1]))
    best = next(iter(expected))
    assert name == best.name and darknet.bbox2points(box) == tuple(round(float(side)) for side in best.box)
    random.seed(3)
    assert colors == darknet.class_colors(names) and set(colors) == set(names)
    before = pixels.copy()
    assert darknet.draw_boxes(found, pixels, colors) is pixels and (pixels != before).any()


def test_image_files(loaded, demo):
    network, names, _, path = loaded
    whole, small = darknet.load_image(str(path).encode(), 0, 0), darknet.load_image(str(path), 20, 10)
    assert (whole.h, whole.w) == cv2.imread(str(path)).shape[:2] and small.data.shape == (3, 10, 20)
    found = darknet.detect_image(network, names, whole)
    assert len(found) == len(Detector(*demo[:2], device="cpu", thresh=.5)(path))
    red = whole.data[0].copy()
    darknet.rgbgr_image(whole)
    assert np.array_equal(whole.data[2], red)
    assert darknet.letterbox_image(whole, 64, 32).data.shape == (3, 32, 64)


def test_a_batch(loaded):
    network, names, _, path = loaded
    pixels = input_of(network, path)
    batch = np.concatenate([pixels.transpose(2, 0, 1), np.zeros_like(pixels).transpose(2, 0, 1)])
    batch = np.ascontiguousarray(batch.flat, np.float32) / 255
    image = darknet.IMAGE(*pixels.shape[1::-1], 3, batch.ctypes.data_as(darknet.POINTER(darknet.c_float)))
    pairs = darknet.network_predict_batch(network, image, 2, *pixels.shape[1::-1], .25, .5, None, 0, 0)
    darknet.do_nms_obj(pairs[0].dets, pairs[0].num, len(names), .45)
    some = darknet.remove_negatives(pairs[0].dets, names, pairs[0].num)
    assert some and {one[0] for one in some} == {one[0] for one in darknet.remove_negatives_faster(
        pairs[0].dets, names, pairs[0].num)}
    assert pairs[1].num == 0 and len(pairs) == 2
    darknet.free_batch_detections(pairs, 2)


def test_the_steps_alone(loaded):
    network, names, _, path = loaded
    image, count = darknet.load_image(str(path)), darknet.pointer(darknet.c_int(0))
    flat = darknet.predict_image(network, image)
    assert flat.ndim == 1 and flat.dtype == np.float32
    boxes = darknet.get_network_boxes(network, image.w, image.h, .25, .5, None, 0, count, 0)
    relative = darknet.get_network_boxes(network, image.w, image.h, .25, .5, None, 1, count, 0)
    assert count[0] == len(boxes) > 0 and boxes[0].bbox.x == pytest.approx(relative[0].bbox.x * image.w)
    darknet.do_nms_sort(boxes, count[0], len(names), .45)
    assert 0 < len(darknet.remove_negatives(boxes, names, count[0])) <= len(boxes)
    darknet.predict_image_letterbox(network, image)
    assert darknet.get_network_boxes(network, image.w, image.h, .25, letter=1)


def test_printed(capsys):
    found = darknet.decode_detection([("cat", np.float32(.9876).item(), (10., 20.4, 5.6, 7.))])
    darknet.print_detections(found)
    darknet.print_detections(found, True)
    assert capsys.readouterr().out == ("\nObjects:\ncat: 98.76%\n\nObjects:\ncat: 98.76%    (left_x: 10   top_y:  20   "
                                       "width:   6   height:  7)\n")


def test_missing_files(demo, tmp_path):
    with pytest.raises(DarknetError, match=r"no.data"):
        darknet.load_network(str(demo[0]), str(tmp_path / "no.data"), str(demo[1]))
