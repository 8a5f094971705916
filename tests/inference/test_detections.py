"""``Detections`` by themselves: chosen, drawn, cut out, shown, pickled, and in other tools' formats."""
import copy
import io
import json
import pickle
import re
from dataclasses import fields, replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from conftest import raises

from darknet_py import DarknetError, DataError, Reason
from darknet_py.data.coco import read_coco
from darknet_py.data.dataset import read_rows, read_samples
from darknet_py.data.voc import read_voc
from darknet_py.inference.detections import Detection, Detections
from darknet_py.viz import display

NAMES = ["cat", "dog", "traffic light"]
IMAGE = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
BOXES = [[10, 10, 30, 40], [20.4, 5.6, 50.2, 25.7], [-5, -5, 90, 70], [70, 50, 75, 55]]


@pytest.fixture
def found():
    return Detections(np.array(BOXES, np.float32), np.array([.9, .8, .7, .6], np.float32), np.array([1, 0, 1, 2]),
                      NAMES, (60, 80), image=IMAGE, ids=np.array([4, 0, 2, 9]))


@pytest.fixture
def none():
    return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, int), NAMES, (60, 80))


def test_one(found):
    assert isinstance(found[0], Detection) and found[0][1:] == (pytest.approx(.9), 1, "dog")
    assert found[-1].name == found[np.int64(3)].name == found[torch.tensor(3)].name == "traffic light"
    assert [one.name for one in reversed(found)] == [found[index].name for index in (3, 2, 1, 0)]


@pytest.mark.parametrize("key, rows", [
    (slice(2), [0, 1]), (slice(None, None, -1), [3, 2, 1, 0]), (slice(9, 20), []), ([2, 0], [2, 0]), ([], []),
    ([-1], [3]), (np.array([1, 1]), [1, 1]), (np.array([True, False, False, True]), [0, 3]),
    ([False, True, True, False], [1, 2]), (torch.tensor([3]), [3]), ("dog", [0, 2]), ("traffic light", [3])])
def test_some(found, key, rows):
    """With all that belongs to each."""
    some = found[key]
    assert isinstance(some, Detections) and some.ids.tolist() == found.ids[rows].tolist()
    np.testing.assert_array_equal(some.boxes, found.boxes[rows].reshape(-1, 4))
    assert some.image is IMAGE and some.names is NAMES


@pytest.mark.parametrize("key, error, says", [
    (4, IndexError, "there are 4 detections, found the index 4"), (-5, IndexError, "found the index -5"),
    ([0, 7], IndexError, "found the index [0, 7]"), ([True], IndexError, "expected a mask of 4 values, a detection "
     "each, found 1"), (1.5, TypeError, "expected a number, a slice, a mask, indices or the name of a class, found 1."),
    (True, TypeError, "found True"), (np.True_, TypeError, "found "),
    (None, TypeError, "found None"), (np.zeros((2, 2), int), TypeError, "found array"),
    (["dog"], TypeError, "found ['dog']"), ("dgo", DarknetError, "found dgo; did you mean dog?")])
def test_what_is_no_index(found, key, error, says):
    with pytest.raises(error, match=re.escape(says)):
        found[key]


def test_names_are_in_it(found, none):
    assert "dog" in found and "bird" not in found and "dog" not in none


@pytest.mark.parametrize("options, rows", [
    ({}, [0, 1, 2, 3]), ({"names": "dog"}, [0, 2]), ({"names": ["cat", "traffic light"]}, [1, 3]),
    ({"names": 0}, [1]), ({"names": [1, "cat"]}, [0, 1, 2]), ({"names": []}, []), ({"score": .75}, [0, 1]),
    ({"area": 600}, [0, 2]), ({"area": (25, 599)}, [1, 3]), ({"names": "dog", "score": .1, "area": (0, 700)}, [0])])
def test_filter(found, none, options, rows):
    assert found.filter(**options).boxes.tolist() == found.boxes[rows].tolist()
    assert len(none.filter(**options)) == 0


@pytest.mark.parametrize("options, says", [
    ({"names": "bird"}, "expected a class, a name or a number from 0 to 2, found bird"),
    ({"score": 50}, "score needs a number from 0 to 1, found 50"),
    ({"score": "high"}, "score needs a number from 0 to 1, found 'high'")])
def test_what_filter_refuses(found, options, says):
    with pytest.raises(DarknetError, match=f"^{re.escape(says)}$"):
        found.filter(**options)


@pytest.mark.parametrize("count, last", [(25, "traffic light 60% at 70, 50, 75, 55"), (300, "... and 1,100 more")])
def test_printed(found, count, last):
    """Up to 100 lines, as many as there are."""
    lines = repr(found[list(range(4)) * count]).splitlines()
    assert lines[0] == f"{4 * count} detections in an image (80 x 60)" and lines[-1] == f"  {last}"
    assert len(lines) == 1 + 100 + (count > 25)


@pytest.mark.parametrize("padding", [0, 3])
def test_crop(found, padding):
    first, second, whole, last = found.crop(padding)
    np.testing.assert_array_equal(first, IMAGE[10 - padding:40 + padding, 10 - padding:30 + padding])
    np.testing.assert_array_equal(second, IMAGE[5 - padding:26 + padding, 20 - padding:51 + padding])
    np.testing.assert_array_equal(whole, IMAGE)
    assert last.shape == (5 + 2 * padding, 5 + 2 * padding, 3)
    first[...] = 0
    assert found.image[20, 20].any()                    # they are copies
    outside = replace(found, boxes=found.boxes + 200).crop()
    assert len(outside) == 4 and not any(one.size for one in outside)


@pytest.mark.parametrize("name", ["new/a.png", "a.jpg", "a", "a.webp"])
def test_save(found, none, workdir, name):
    assert found.save(name) == workdir.joinpath(name).relative_to(workdir)
    there = cv2.imread(name)
    assert there.shape == IMAGE.shape
    if name.endswith("png"):
        np.testing.assert_array_equal(there, found.draw())
    none.save("none.png", IMAGE)
    np.testing.assert_array_equal(cv2.imread("none.png"), IMAGE)


def test_what_save_refuses(found, workdir):
    cv2.imwrite("a.png", IMAGE)
    before = workdir.joinpath("a.png").read_bytes()
    with raises(DataError, Reason.ALREADY_EXISTS, r"^a\.png: is the picture itself"):
        replace(found, path="a.png").save("./a.png")
    assert workdir.joinpath("a.png").read_bytes() == before
    with raises(DataError, Reason.UNSUPPORTED, r"a\.xyz: cannot write a picture of 80 x 60 pixels as \.xyz"):
        found.save("a.xyz")
    with raises(DataError, Reason.UNWRITABLE):
        found.save("a.png/b.png")
    assert sorted(path.name for path in workdir.iterdir()) == ["a.png"]


def test_a_notebook_shows_the_picture(found):
    png = cv2.imdecode(np.frombuffer(found._repr_png_(), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(png, found.draw())
    large = replace(found, image=np.zeros((1000, 4000, 3), np.uint8))
    png = cv2.imdecode(np.frombuffer(large._repr_png_(), np.uint8), cv2.IMREAD_COLOR)
    assert png.shape == (400, 1600, 3)
    formatters = pytest.importorskip("IPython.core.formatters")
    kinds, _ = formatters.DisplayFormatter().format(found)
    assert kinds["image/png"] and kinds["text/plain"] == repr(found)
    assert replace(found, image=None)._repr_png_() is None                  # it shows the text then
    assert replace(found, image=None, path="gone.png")._repr_png_() is None


def test_show_in_a_notebook(found, monkeypatch):
    ipython = pytest.importorskip("IPython")
    shown = []
    monkeypatch.setattr("IPython.get_ipython", lambda: SimpleNamespace(kernel=object()))
    monkeypatch.setattr("IPython.display.display", shown.append)
    found.show()
    assert [type(one) for one in shown] == [ipython.display.Image] and shown[0].data == found._repr_png_()


@pytest.mark.parametrize("ends", ["key", "closed"])
def test_show_in_a_window(found, monkeypatch, ends):
    calls, keys = [], iter([-1, -1, 32] if ends == "key" else [-1] * 9)
    seen = iter([1, 1, 1] if ends == "key" else [1, 0])
    monkeypatch.setattr(display, "has_window", lambda: True)
    monkeypatch.setattr(cv2, "waitKey", lambda milliseconds: next(keys))
    monkeypatch.setattr(cv2, "getWindowProperty", lambda *_: next(seen))
    for name in "namedWindow", "imshow", "destroyWindow":
        monkeypatch.setattr(cv2, name, lambda *words, name=name: calls.append((name, words)))
    found.show()
    assert [name for name, _ in calls] == ["namedWindow", "imshow", "destroyWindow"]
    np.testing.assert_array_equal(calls[1][1][1], found.draw())


def test_show_with_matplotlib_or_in_words(found, monkeypatch):
    """Its canvas says whether it belongs to a window."""
    plt = pytest.importorskip("matplotlib.pyplot")
    monkeypatch.setattr(plt, "get_backend", lambda: "agg")
    plt.switch_backend("agg")
    monkeypatch.setattr(display, "has_window", lambda: False)
    with pytest.raises(DarknetError, match=r"^cannot show the picture: this is no notebook, .* save\(path\) writes it"):
        found.show()
    assert plt.get_fignums() == []
    drawn = []
    monkeypatch.setattr("matplotlib.backends.backend_agg.FigureCanvasAgg.required_interactive_framework", "tk")
    monkeypatch.setattr(plt, "show", lambda block: drawn.append(plt.gcf().axes[0].images[0].get_array()))
    found.show()
    np.testing.assert_array_equal(drawn[0], found.draw()[..., ::-1])
    assert plt.get_fignums() == []


@pytest.mark.parametrize("again", [lambda found: pickle.loads(pickle.dumps(found)), copy.copy, copy.deepcopy])
def test_pickled_and_copied(found, again):
    other = again(found)
    for field in fields(Detections):
        np.testing.assert_array_equal(getattr(other, field.name), getattr(found, field.name))
    assert repr(other) == repr(found) and len(pickle.dumps(replace(found, image=None))) < 2000


def test_to_coco_and_back(found, workdir):
    """Its results are what annotations need, too."""
    results = [one | {"id": number} for number, one in enumerate(found.to_coco(7))]
    categories = [{"id": number, "name": name} for number, name in enumerate(NAMES, 1)]
    workdir.joinpath("a.json").write_text(json.dumps({
        "images": [{"id": 7, "file_name": "a.png", "width": 80, "height": 60}], "annotations": results,
        "categories": categories}))
    (picture,) = read_coco("a.json")
    inside = found.boxes.clip(0, [80, 60, 80, 60])
    np.testing.assert_allclose(picture.rows, np.c_[found.labels, replace(found, boxes=inside).relative()], atol=1e-6)


def test_to_voc_and_back(found, workdir):
    """Whole pixels, inside the picture."""
    assert found.to_voc("Annotations/a.xml") == workdir.joinpath("Annotations/a.xml").read_text()
    (picture,) = read_voc(workdir, names=NAMES)
    inside = np.rint(found.boxes.clip(0, [80, 60, 80, 60]))
    np.testing.assert_array_equal(picture.rows[:, 0], found.labels)
    np.testing.assert_allclose(picture.rows[:, 1:], replace(found, boxes=inside).relative(), atol=1 / 60)


def test_to_yolo_and_back(found, workdir):
    """Each box once, with four decimals."""
    cv2.imwrite("a.png", IMAGE)
    workdir.joinpath("list.txt").write_text("a.png\n")
    twice = found[[0, 0, 1, 3]]
    assert twice.to_yolo("a.txt") == workdir.joinpath("a.txt").read_text() == twice.to_labels()
    (sample,) = read_samples("list.txt")
    rows, problems = read_rows(sample, 3)
    assert not problems
    np.testing.assert_allclose(rows, np.c_[found.labels, found.relative()][[0, 1, 3]], atol=6e-5)


def test_to_csv_and_back(found, none):
    pandas = pytest.importorskip("pandas")
    table = pandas.read_csv(io.StringIO(found.to_csv()))
    assert table.name.tolist() == [one.name for one in found] and table.label.tolist() == found.labels.tolist()
    np.testing.assert_allclose(table[["left", "top", "right", "bottom"]], found.boxes, atol=.006)
    frame = found.to_pandas()
    assert frame["class"].tolist() == found.labels.tolist() and frame.xmax.tolist() == found.boxes[:, 2].tolist()
    assert len(pandas.read_csv(io.StringIO(none.to_csv()))) == len(none.to_pandas()) == 0


def test_to_supervision_and_back(found, none):
    supervision = pytest.importorskip("supervision")
    theirs = found.to_supervision()
    again = Detections.from_supervision(theirs, (60, 80), NAMES)
    for name in "boxes", "scores", "labels":
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))
    assert again.ids.tolist() == found.ids.tolist() and again.image_size == (60, 80)
    some = Detections.from_supervision(theirs[theirs.class_id == 2][::-1], (60, 80), path="a.png")
    assert some.names == ["0", "1", "traffic light"] and some.path == "a.png" and "traffic light" in some
    assert len(Detections.from_supervision(none.to_supervision(), (60, 80))) == 0
    plain = supervision.Detections(found.boxes[:2], class_id=np.array([1, 0]))
    assert Detections.from_supervision(plain, (60, 80)).scores.tolist() == [1, 1]
    assert len(Detections.from_supervision(supervision.Detections.empty(), (60, 80))) == 0


def test_from_supervision_in_words(found):
    supervision = pytest.importorskip("supervision")
    with pytest.raises(DarknetError, match=r"^expected detections with class_id, found none$"):
        Detections.from_supervision(supervision.Detections(found.boxes), (60, 80))
    with pytest.raises(DarknetError, match=r"^expected class_id from 0 to 1, a name each, found 0 to 2$"):
        Detections.from_supervision(found.to_supervision(), (60, 80), ["cat", "dog"])
