"""COCO's measures, files of results, and mistakes, on constructed cases."""
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import raises
from tables import AWAY, HALF, HERE, QUARTER, table

from darknet_py import DataError, Reason
from darknet_py.data.coco import IDS, NAMES, category_ids
from darknet_py.data.dataset import coco_json, read_rows, read_samples
from darknet_py.evaluation.coco_ap import coco_average_precision, make_truth, read_truth
from darknet_py.evaluation.error_analysis import KINDS, find_mistakes
from darknet_py.evaluation.result_files import image_ids, write_results

SIZES = np.array([[400, 400]] * 2)
WIDE = (.5, .5, .5, .25)


def measure(found, objects, classes=1, truth=None):
    return coco_average_precision(table(found, True), table(objects, False), SIZES, [str(c) for c in range(classes)],
                                  truth)


@pytest.mark.parametrize("found, objects, ap, ap50", [
    ([], [(0, 0, HERE, 0)], 0, 0),
    ([(0, 0, HERE, .9)], [(0, 0, HERE, 0)], 1, 1),
    ([(0, 0, HALF, .9)], [(0, 0, HERE, 0)], .1, 1),                 # an overlap of just .5 counts here
    ([(0, 0, AWAY, .9), (0, 0, HERE, .8)], [(0, 0, HERE, 0)], .5, .5),
    ([(0, 0, HERE, .9)], [(0, 0, HERE, 0), (1, 0, HERE, 0)], 51 / 101, 51 / 101),
    ([(0, 0, HERE, .9), (0, 0, AWAY, .95)], [(0, 0, HERE, 0), (0, 0, AWAY, 1)], 1, 1),      # difficult: a crowd
    ([(0, 0, HERE, .9)], [], -1, -1),
])
def test_average_precision(found, objects, ap, ap50):
    result = measure(found, objects)
    assert result.figures["AP"] == pytest.approx(ap, abs=1e-9) == result.ap[0]
    assert result.figures["AP50"] == pytest.approx(ap50, abs=1e-9) == result.ap50[0]


def test_sizes_and_classes():
    """An object of 100 x 100 pixels is large, one of 50 x 50 is of middle size; a class without objects has no AP."""
    middle = (.2, .2, .125, .125)
    result = measure([(0, 0, HERE, .9), (1, 1, AWAY, .5)], [(0, 0, HERE, 0), (1, 1, middle, 0)], 3)
    assert [result.figures[name] for name in ("APl", "APm", "APs", "AP")] == pytest.approx([1, 0, -1, .5])
    assert result.ap.tolist() == pytest.approx([1, 0, -1])


def test_progress(monkeypatch):
    """Of the two images there are two classes and four ranges of sizes."""
    monkeypatch.setattr("darknet_py.evaluation.coco_ap.STEPS", 6)
    calls = []
    coco_average_precision(table([], True), table([(0, 0, HERE, 0)], False), SIZES, ["x", "y"],
                           progress=lambda *call: calls.append(call))
    assert calls == [(6, 16), (12, 16), (16, 16)]


@pytest.fixture
def instances(tmp_path):
    """A COCO JSON: ids with gaps, categories in another order than the classes, one that is no class, a crowd."""
    data = {
        "images": [{"id": 42, "file_name": "b.png", "width": 400, "height": 400},
                   {"id": 7, "file_name": "a.png", "width": 400, "height": 400}],
        "categories": [{"id": 90, "name": "couch"}, {"id": 3, "name": "cat"}, {"id": 5, "name": "other"}],
        "annotations": [
            {"image_id": 42, "category_id": 90, "bbox": [150, 150, 100, 100], "area": 900.},
            {"image_id": 7, "category_id": 3, "bbox": [150, 150, 100, 100], "iscrowd": 0},
            {"image_id": 7, "category_id": 90, "bbox": [0, 0, 100, 100], "iscrowd": 1},
            {"image_id": 7, "category_id": 5, "bbox": [0, 0, 9, 9]}]}
    path = tmp_path / "instances_val.json"
    path.write_text(json.dumps(data))
    return path


@pytest.mark.parametrize("numbers", [(), (0, 10 ** 400, 1, 1)])
def test_annotations_of_coco(instances, tmp_path, numbers):
    """Darknet's sofa is COCO's couch; its area is not that of its box; crowds are no objects, and finding them is no
    mistake. The annotations' own ids say nothing."""
    data = json.loads(instances.read_text())
    for entry, number in zip(data["annotations"], numbers, strict=False):
        entry["id"] = number
    instances.write_text(json.dumps(data))
    names = ["cat", "dog", "sofa"]
    truth = read_truth(instances, names)
    assert truth.images == [42, 7] and truth.categories == [3, None, 90]
    rows = [read_rows(sample, 3)[0].tolist() for sample in read_samples(instances, "valid", names)]
    assert [[row[0] for row in part] for part in rows] == [[2], [0]]
    found = [(0, 2, HERE, .9), (1, 0, HERE, .8), (1, 2, AWAY, .95), (1, 1, HERE, .9)]
    result = coco_average_precision(table(found, True), table([], False), SIZES, names, truth)
    assert result.ap.tolist() == pytest.approx([1, -1, 1])
    assert [result.figures[name] for name in ("APs", "APm", "APl")] == pytest.approx([1, -1, 1])
    data = tmp_path / "x.data"
    data.write_text("valid = instances_val.json\n")
    assert coco_json(data) == instances and coco_json(tmp_path / "list.txt") is None
    (tmp_path / "test.json").write_text('{"images": [], "categories": []}')
    with raises(DataError, Reason.MISSING_KEY):
        read_truth(tmp_path / "test.json", names)


def test_ids():
    darknet = list(NAMES)
    for other, name in (("sofa", "couch"), ("tvmonitor", "tv"), ("aeroplane", "airplane")):
        darknet[darknet.index(name)] = other
    assert category_ids(darknet) == list(IDS) and IDS[:12] == (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13) and IDS[-1] == 90
    assert category_ids(["person", "car"]) == [1, 2]


@pytest.mark.parametrize("names, ids, why", [
    (["COCO_val2014_000000000042", "000000397133"], [42, 397133], ""),
    (["2007_000027", "2007_000032"], [27, 32], ""),
    (["a1", "b1"], [1, 2], "b1.jpg and a1.jpg have the same number 1 in their names"),
    (["a1", "b2", "a1"], [1, 2, 3], "a1.jpg and a1.jpg have the same number 1 in their names"),
    (["dog1", "cat"], [1, 2], "cat.jpg has no number in its name"),
])
def test_image_ids(names, ids, why):
    found, said = image_ids([Path(f"{name}.jpg") for name in names])
    assert found == ids and (said or "").startswith(why) and bool(said) == bool(why)


@pytest.mark.parametrize("kind, text", [
    ("voc", ""), ("coco", "[\n\n]\n"), ("bdd", "[\n\n]\n"), ("kitti", ""), ("imagenet", "")])
def test_nothing_found(tmp_path, kind, text):
    """Files are there all the same, and JSON is JSON."""
    write_results(kind, tmp_path, table([], True), SIZES, [Path("a.jpg"), Path("b.jpg")], ['"c"', "d"])
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == {"voc": 2, "kitti": 2}.get(kind, 1) and all(path.read_text() == text for path in files)


def test_results_of_coco(tmp_path):
    """Boxes are cut off at the edges; a class that is no category is left out."""
    found = table([(0, 0, (0, .5, .5, .25), .9), (1, 1, HERE, .8)], True)
    path, = write_results("coco", tmp_path / "r", found, SIZES, [Path("a_5.jpg"), Path("a_6.jpg")], ["x", "y"],
                          categories=[17, None])
    assert json.loads(path.read_text()) == [{"image_id": 5, "category_id": 17, "bbox": [0, 150, 100, 100], "score": .9}]


def test_results_of_bdd_are_escaped(tmp_path):
    path, = write_results("bdd", tmp_path, table([(0, 0, HERE, .9)], True), SIZES, [Path('a".jpg')], ['b"'])
    assert json.loads(path.read_text()) == [{"name": 'a"', "category": 'b"', "bbox": [150, 150, 250, 250],
                                             "score": .9}]


def test_kitti_needs_names_of_their_own(tmp_path):
    with raises(DataError, Reason.DUPLICATE, "several images are called b,"):
        paths = [Path("a.jpg"), Path("x/b.jpg"), Path("y/b.jpg")]
        write_results("kitti", tmp_path, table([], True), SIZES, paths, ["c"])


@pytest.mark.parametrize("found, objects, kinds, confusion", [
    ([(0, 0, HERE, .9)], [(0, 0, HERE, 0)], [], [[1, 0, 0], [0, 0, 0], [0, 0, 0]]),
    ([(0, 0, HERE, .2)], [(0, 0, HERE, 0)], ["missed"], [[0, 0, 1], [0, 0, 0], [0, 0, 0]]),
    ([(0, 0, AWAY, .9)], [(0, 0, HERE, 0)], ["background", "missed"], [[0, 0, 1], [0, 0, 0], [1, 0, 0]]),
    ([(0, 0, HALF, .9)], [(0, 0, HERE, 0)], ["localization", "missed"], [[0, 0, 1], [0, 0, 0], [1, 0, 0]]),
    ([(0, 1, HERE, .9)], [(0, 0, HERE, 0)], ["classification", "missed"], [[0, 1, 0], [0, 0, 0], [0, 0, 0]]),
    ([(0, 0, HERE, .8), (0, 0, HERE, .9)], [(0, 0, HERE, 0)], ["duplicate"], [[1, 0, 0], [0, 0, 0], [1, 0, 0]]),
    # both classes for one box: the right one is matched, though the other is surer
    ([(0, 1, HERE, .9), (0, 0, HERE, .8)], [(0, 0, HERE, 0)], ["classification"], [[1, 0, 0], [0, 0, 0], [0, 1, 0]]),
    ([(0, 0, AWAY, .9)], [(0, 0, AWAY, 1)], [], [[0, 0, 0], [0, 0, 0], [0, 0, 0]]),
    ([(1, 0, HERE, .9)], [(0, 0, HERE, 0)], ["background", "missed"], [[0, 0, 1], [0, 0, 0], [1, 0, 0]]),
    ([], [], [], [[0, 0, 0], [0, 0, 0], [0, 0, 0]]),
])
def test_mistakes(found, objects, kinds, confusion):
    result = find_mistakes(table(found, True), table(objects, False), ["x", "y"])
    assert [mistake.kind for mistake in result.all] == kinds
    assert result.confusion.tolist() == confusion
    assert result.counts.sum(0).tolist() == [kinds.count(kind) for kind in KINDS]


def test_what_a_mistake_says():
    """A class of another object, an object found twice, too little overlap, nothing there; then what is missed, the
    largest first."""
    found = [(0, 1, HERE, .9), (0, 1, HALF, .5), (1, 0, HERE, .8), (1, 0, HERE, .7), (1, 1, AWAY, .6)]
    low = (.5, .125, .25, .125)
    objects = [(0, 0, HERE, 0), (1, 0, HERE, 0), (0, 1, QUARTER, 0), (2, 0, low, 0), (2, 1, WIDE, 0)]
    result = find_mistakes(table(found, True), table(objects, False), ["x", "y"], iou_thresh=.6)
    assert [(m.kind, m.image, m.label, round(m.score, 6), tuple(m.box.tolist()), m.other, m.overlap)
            for m in result.all] == [
        ("classification", 0, 1, .9, HERE, 0, 1), ("duplicate", 1, 0, .7, HERE, 0, 1),
        ("background", 1, 1, .6, AWAY, -1, 0), ("localization", 0, 1, .5, HALF, 1, .5),
        ("missed", 2, 1, 0, WIDE, -1, 0), ("missed", 0, 0, 0, HERE, -1, 0), ("missed", 2, 0, 0, low, -1, 0),
        ("missed", 0, 1, 0, QUARTER, -1, 0)]
    assert result.counts.tolist() == [[0, 0, 0, 1, 2], [1, 1, 1, 0, 2]]


def plain_confusion(found, objects, classes):
    """The definition as a loop."""
    def overlap(a, b):
        sides = [min(a[i] + a[i + 2] / 2, b[i] + b[i + 2] / 2) - max(a[i] - a[i + 2] / 2, b[i] - b[i + 2] / 2)
                 for i in (0, 1)]
        shared = sides[0] * sides[1] if min(sides) > 0 else 0
        return shared / (a[2] * a[3] + b[2] * b[3] - shared)

    sure = [(image, c, box) for image, c, box, score in sorted(found, key=lambda one: -one[3]) if score > .25]
    pairs = sorted((c != label, -overlap(box, truth), d, t) for d, (image, c, box) in enumerate(sure)
                   for t, (where, label, truth, _) in enumerate(objects)
                   if image == where and overlap(box, truth) > .5)
    matrix, taken, used = np.zeros((classes + 1, classes + 1), int), {}, set()
    for _, _, d, t in pairs:
        if d not in taken and t not in used:
            taken[d] = t
            used.add(t)
    for d, (_, c, _) in enumerate(sure):
        matrix[objects[taken[d]][1] if d in taken else classes, c] += 1
    for t, (_, label, _, _) in enumerate(objects):
        matrix[label, classes] += t not in used
    return matrix


@pytest.mark.parametrize("seed", range(4))
def test_confusion_against_a_plain_loop(seed):
    rng = np.random.default_rng(seed)

    def rows(count, last):
        return [(int(rng.integers(3)), int(rng.integers(3)), tuple(rng.uniform(.3, .6, 4)), float(last()))
                for _ in range(count)]

    found, objects = rows(60, rng.random), rows(25, lambda: 0)
    matrix = find_mistakes(table(found, True), table(objects, False), ["x", "y", "z"]).confusion
    np.testing.assert_array_equal(matrix, plain_confusion(found, objects, 3))
    assert matrix[:3].sum() == len(objects)


def test_the_worst_come_from_many_pictures():
    found = [(0, 0, AWAY, .99 - .01 * number) for number in range(5)] + [(1, 0, AWAY, .5)]
    worst = find_mistakes(table(found, True), table([(0, 0, WIDE, 0)], False), ["x"]).worst(4)
    assert [(mistake.kind, mistake.image) for mistake in worst] == [
        ("background", 0), ("missed", 0), ("background", 0), ("background", 1)]


def test_truth_from_labels():
    truth = make_truth(table([(1, 0, HERE, 1)], False), SIZES, ["person"])
    assert truth.data["images"] == [{"id": 1, "height": 400, "width": 400}, {"id": 2, "height": 400, "width": 400}]
    assert (truth.images, truth.categories) == ([1, 2], [1])
    assert truth.data["annotations"] == [{"id": 1, "image_id": 2, "category_id": 1, "bbox": [150, 150, 100, 100],
                                          "area": 10000, "iscrowd": 1}]
