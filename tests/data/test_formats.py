"""Data sets in the formats that people have, read to the same boxes."""
from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import raises
from hypothesis import given
from hypothesis import strategies as st

from darknet_py.data.dataset import class_names, own_splits, read_objects, read_samples
from darknet_py.data.formats import find_layout
from darknet_py.errors import DataError, Reason
from darknet_py.evaluation.coco_ap import read_truth
from darknet_py.prepare.check_dataset import check_dataset

pytestmark = pytest.mark.usefixtures("workdir")
NAMES = ["cat", "dog"]
WIDTH, HEIGHT = 64, 48
BOXES = {"a": [(0, 8, 6, 24, 30), (1, 32, 12, 60, 40)], "b": [(1, 0, 0, 32, 24)], "c": [(0, 4, 4, 12, 10)], "d": []}
JPEG = cv2.imencode(".jpg", np.zeros((HEIGHT, WIDTH, 3), np.uint8))[1].tobytes()


def rows(name: str) -> np.ndarray:
    """(K, 5), what must be read."""
    return np.array([[label, (x1 + x2) / 2 / WIDTH, (y1 + y2) / 2 / HEIGHT, (x2 - x1) / WIDTH, (y2 - y1) / HEIGHT]
                     for label, x1, y1, x2, y2 in BOXES[name]]).reshape(-1, 5)


def label(name: str) -> str:
    return "".join(f"{int(row[0])} {row[1]:.8f} {row[2]:.8f} {row[3]:.8f} {row[4]:.8f}\n" for row in rows(name))


def polygons(name: str) -> str:
    """The corners of each box, and a point inside."""
    return "".join(f"{label} {x1 / WIDTH} {y1 / HEIGHT} {x2 / WIDTH} {y1 / HEIGHT} {(x1 + x2) / 2 / WIDTH} "
                   f"{(y1 + y2) / 2 / HEIGHT} {x2 / WIDTH} {y2 / HEIGHT} {x1 / WIDTH} {y2 / HEIGHT}\n"
                   for label, x1, y1, x2, y2 in BOXES[name])


def voc(name: str, size: str = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height></size>", filename: str = ""
        ) -> str:
    return f"<?xml version='1.0'?><annotation verified='yes'><filename>{filename or name + '.jpg'}</filename>{size}" + \
        "".join(f"<object><name>{NAMES[label]}</name><bndbox><xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin><xmax>{x2 + 1}"
                f"</xmax><ymax>{y2 + 1}</ymax></bndbox></object>" for label, x1, y1, x2, y2 in BOXES[name]) + \
        "</annotation>"


def coco(names: str = "abcd", folder: str = "", head: bool = False) -> str:
    categories = [{"id": number + 1, "name": name, "supercategory": "animals"} for number, name in enumerate(NAMES)]
    return json.dumps({
        "images": [{"id": ord(name), "file_name": f"{folder}{name}.jpg", "width": WIDTH, "height": HEIGHT}
                   for name in names],
        "annotations": [{"image_id": ord(name), "category_id": label + 1, "bbox": [x1, y1, x2 - x1, y2 - y1]}
                        for name in names for label, x1, y1, x2, y2 in BOXES[name]],
        "categories": [{"id": 0, "name": "animals", "supercategory": "none"}] * head + categories})


def cvat(subsets: dict[str, str] | None = None) -> str:
    images = "".join(
        f'<image id="{number}" name="{name}.jpg" width="{WIDTH}" height="{HEIGHT}" '
        f'{"" if subsets is None else f"subset={chr(34)}{subsets[name]}{chr(34)}"}>' + "".join(
            f'<box label="{NAMES[label]}" xtl="{x1}" ytl="{y1}" xbr="{x2}" ybr="{y2}" occluded="0"/>' if number else
            f'<polygon label="{NAMES[label]}" points="{x1},{y1};{x2},{y1}.0;{x2},{y2};{x1},{y2}"/>'
            for label, x1, y1, x2, y2 in BOXES[name]) + '<points label="nose" points="1,1"/></image>'
        for number, name in enumerate("abcd"))
    labels = "".join(f"<label><name>{name}</name></label>" for name in NAMES)
    return f"<annotations><version>1.1</version><meta><job><labels>{labels}</labels></job></meta>{images}</annotations>"


def pictures(folder: str, names: str = "abcd") -> dict[str, bytes]:
    return {f"{folder}{name}.jpg": JPEG for name in names}


def each(pattern: str, content, names: str = "abcd") -> dict[str, str]:
    return {pattern.replace("*", name): content(name) for name in names}


LAYOUTS = {         # files, source, splits of its own, whether it names the classes
    "labelimg yolo": ({**pictures("s/"), **each("s/*.txt", label), "s/classes.txt": "cat\ndog\n"}, "s", (), True),
    "labels in labels/": ({**pictures("s/images/"), **each("s/labels/*.txt", label)}, "s", (), False),
    "labelimg voc": ({**pictures("s/"), **each("s/*.xml", voc)}, "s", (), True),
    "voc in folders": ({**pictures("s/images/"), **each("s/annotations/*.xml", voc)}, "s", (), True),
    "voc in folders, another case": ({**pictures("s/Images/"), **each("s/Annotations/*.xml", voc)}, "s", (), True),
    "voc without size": ({**pictures("s/images/"), **each("s/xml/*.xml", lambda name: voc(name, ""))}, "s", (), True),
    "voc by filename": (
        {**pictures("s/images/"), **each("s/xml/1*.xml", lambda name: voc(name, filename=f"C:\\{name}.jpg"))},
        "s", (), True),
    "voc of one name in two places": (
        {**{f"s/{name}/images/1.jpg": JPEG for name in "abcd"}, **each("s/*/annotations/1.xml", voc)}, "s", (), True),
    "devkit": ({**pictures("s/VOC2007/JPEGImages/"), **each("s/VOC2007/Annotations/*.xml", voc),
                "s/VOC2007/ImageSets/Main/train.txt": "a\nb\nc\nd\n", "s/VOC2007/ImageSets/Main/val.txt": "a\n"},
               "s", ("train", "valid"), True),
    "devkit, above and in lower case": (
        {**pictures("s/VOCdevkit/VOC2012/jpegimages/"), **each("s/VOCdevkit/VOC2012/annotations/*.xml", voc)},
        "s", (), True),
    "cvat's voc": ({**pictures("s/JPEGImages/"), **each("s/Annotations/*.xml", voc),
                    "s/ImageSets/Main/default.txt": "a\n"}, "s", (), True),
    "coco json": ({**pictures("s/"), "s/_annotations.coco.json": coco(head=True)}, "s/_annotations.coco.json", (),
                  True),
    "coco folder": ({**pictures("s/images/"), "s/annotations/instances_default.json": coco(),
                     "s/settings.json": '{"version": 1}'}, "s", (), True),
    "coco, pictures elsewhere": ({**pictures("s/data/deep/"), "s/x.json": coco(folder="old/place/")}, "s", (), True),
    "coco splits": ({**pictures("s/train2017/"), **pictures("s/val2017/", "a"),
                     "s/annotations/instances_train2017.json": coco(),
                     "s/annotations/instances_val2017.json": coco("a"),
                     "s/annotations/captions_val2017.json": coco("")}, "s", ("train", "valid"), True),
    "coco splits in folders": ({**pictures("s/train/"), **pictures("s/valid/", "a"),
                                "s/train/_annotations.coco.json": coco(head=True),
                                "s/valid/_annotations.coco.json": coco("a")}, "s", ("train", "valid"), True),
    "data.yaml": ({**pictures("s/images/train/"), **each("s/labels/train/*.txt", label),
                   **pictures("s/images/val/", "a"), **each("s/labels/val/*.txt", label, "a"),
                   "s/data.yaml": "path: .\ntrain: images/train\nval: images/val\ntest:  # none\n"
                                  "names: {0: cat, 1: dog}"},
                  "s/data.yaml", ("train", "valid"), True),
    "data.yaml in a folder, polygons, lists": (
        {**pictures("s/images/"), **each("s/labels/*.txt", polygons), "s/train.txt": "./images/a.jpg\nimages/b.jpg\n",
         "s/more.txt": "./images/c.jpg\n./images/d.jpg\n",
         "s/my.yaml": "train: [train.txt, more.txt]\nval: images\nnc: 2\nnames: [cat, dog]\ndownload: none"},
        "s", ("train", "valid"), True),
    "data.yaml of an export": (
        {**pictures("s/train/images/"), **each("s/train/labels/*.txt", label), **pictures("s/test/images/", "a"),
         "s/data.yaml": "train: ../train/images\nval: ../valid/images\ntest: ../test/images\nnc: 2\n"
                        "names: ['cat', 'dog']"},
        "s", ("train", "valid", "test"), True),
    "data.yaml, key points": (
        {**pictures("s/images/"), "s/data.yaml": "train: images\nkpt_shape: [2, 2]\nnames: [cat, dog]",
         **each("s/labels/*.txt", lambda name: label(name).replace("\n", " .1 .2 .3 .4\n"))}, "s", ("train",), True),
    "cvat": ({**pictures("s/images/"), "s/annotations.xml": cvat()}, "s", (), True),
    "cvat, the file": ({**pictures("s/"), "s/x.xml": cvat()}, "s/x.xml", (), True),
    "cvat with subsets": (
        {**pictures("s/images/Train/", "abcd"), "s/annotations.xml": cvat(dict.fromkeys("abcd", "Train"))},
        "s", (), True),
    "cvat's yolo": ({**pictures("s/obj_train_data/"), **each("s/obj_train_data/*.txt", label),
                     "s/obj.names": "cat\ndog\n",
                     "s/train.txt": "".join(f"data/obj_train_data/{name}.jpg\n" for name in "abcd"),
                     "s/obj.data": "classes = 2\ntrain = data/train.txt\nnames = data/obj.names\nbackup = backup/\n"},
                    "s/obj.data", ("train",), True),
}


def write(files: dict[str, str | bytes]) -> None:
    for name, content in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content.encode() if isinstance(content, str) else content)


@pytest.mark.parametrize("files, source, splits, named", LAYOUTS.values(), ids=LAYOUTS)
def test_layouts(files, source, splits, named):
    write(files)
    assert own_splits(source) == splits
    assert class_names(source) == (NAMES if named else None)
    samples = read_samples(source)
    assert all(sample.image.is_file() for sample in samples)
    found = [read_objects(sample, len(NAMES)) for sample in samples]
    assert not any(one.problems for one in found)
    assert len(found) == 4
    for one, name in zip(found, "abcd", strict=True):
        assert one.rows == pytest.approx(rows(name), abs=1e-6)


@pytest.mark.parametrize("subsets, wanted", [
    ("Train Train Validation Test", {"train": "ab", "valid": "c"}),
    ("train train test test", {"train": "ab", "valid": "cd"}),
    ("default default default default", {"train": "abcd", "valid": "abcd"}),
])
def test_subsets_of_cvat(subsets, wanted):
    write({**pictures("s/"), "s/annotations.xml": cvat(dict(zip("abcd", subsets.split(), strict=True)))})
    for split, names in wanted.items():
        assert "".join(sample.image.stem for sample in read_samples("s", split)) == names


def test_cvat_shapes():
    """Rotated boxes and ellipses, polygons and masks give the upright boxes around them."""
    shapes = ('<box label="cat" xtl="10" ytl="20" xbr="30" ybr="24" rotation="90.0"/>'
              '<ellipse label="cat" cx="32" cy="24" rx="10" ry="4"/>'
              '<mask label="dog" left="3" top="4" width="5" height="6" rle="1"/>'
              '<polyline label="dog" points="1,2;3,4"/>')
    write({**pictures("s/", "a"), "s/x.xml": f'<annotations><image id="0" name="a.jpg" width="64" height="48">{shapes}'
                                             "</image></annotations>"})
    found = read_objects(read_samples("s/x.xml")[0], 2).rows
    boxes = [[0, 18, 12, 22, 32], [0, 22, 20, 42, 28], [1, 3, 4, 8, 10]]
    wanted = [[label, (x1 + x2) / 128, (y1 + y2) / 96, (x2 - x1) / 64, (y2 - y1) / 48]
              for label, x1, y1, x2, y2 in boxes]
    assert found == pytest.approx(np.array(wanted), abs=1e-6)


@pytest.mark.parametrize("files, source, reason, complaint", [
    ({"d.yaml": "train: [a"}, "d.yaml", Reason.SYNTAX, r"^d\.yaml:1: not YAML: "),
    ({"d.yaml": "- a"}, "d.yaml", Reason.WRONG_FORMAT,
     r"^d\.yaml: expected entries such as train: and names:, found list"),
    ({"d.yaml": "names: [a]"}, "d.yaml", Reason.MISSING_KEY, r"^d\.yaml: expected train: and val:"),
    ({"d.yaml": "train: 3"}, "d.yaml", Reason.BAD_VALUE,
     r"^d\.yaml: expected train: with a path or a list of paths, found 3"),
    ({"d.yaml": "train: x\nnames: {1: a}"}, "d.yaml", Reason.BAD_VALUE,
     r"expected names: with the numbers from 0 to 0, found \[1\]"),
    ({"d.yaml": "train: x\nnames: 3"}, "d.yaml", Reason.BAD_VALUE,
     r"^d\.yaml: expected names: with a list of classes, found 3"),
    ({"d.yaml": "train: x\nnc: 3\nnames: [a]"}, "d.yaml", Reason.WRONG_COUNT,
     r"^d\.yaml: nc: 3, but there are 1 names"),
    ({"d.yaml": "train: x\nnames: [a]"}, "d.yaml", Reason.MISSING_FILE,
     r"^d\.yaml: train: x: no such folder or list of pictures"),
    ({"d.yaml": "a: &a [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1 or ''}, *a{n - 1 or ''}]\n" for n in range(1, 60))
      + "train: x\nnames: [*a59]"}, "d.yaml", Reason.BAD_VALUE, r"a list of classes, found \[\[\[.* in it$"),
    ({"d.yaml": "train: [*a]"}, "d.yaml", Reason.SYNTAX, r"^d\.yaml:1: not YAML: "),
    ({"d.yaml": "train: &a [*a]"}, "d.yaml", Reason.BAD_VALUE, r"a list of paths, found \[\[\["),
    ({"d.yaml": f"train: x\nnc: 0x{'f' * 5000}\nnames: [a]"}, "d.yaml", Reason.WRONG_COUNT,
     "nc: a number of thousands of digits, but "),
    ({"d.yaml": "!!python/object/apply:os.system ['echo']"}, "d.yaml", Reason.SYNTAX, r"^d\.yaml:1: not YAML: "),
    ({}, "gone.yaml", Reason.MISSING_FILE, r"^gone\.yaml: cannot read the file"),
    ({}, "gone.xml", Reason.MISSING_FILE, r"^gone\.xml: expected an XML of CVAT for images, found no such file"),
    ({"x.xml": "<annotation></annotation>"}, "x.xml", Reason.WRONG_FORMAT,
     "one of Pascal VOC belongs to a picture, give the folder"),
    ({"x.xml": "<annotations><image"}, "x.xml", Reason.WRONG_FORMAT,
     "expected an XML of CVAT for images, found something else"),
    ({"x.xml": "<annotations><track id='0'/></annotations>"}, "x.xml", Reason.UNSUPPORTED,
     "an export of CVAT for video"),
    ({"x.xml": "<annotations><image id='4' name='a.jpg' width='x' height='2'/></annotations>"}, "x.xml",
     Reason.BAD_VALUE, r"^x\.xml: image 4: expected width, height and shapes in numbers"),
    ({"x.xml": "<annotations><image id='4' name='a.jpg' width='2' height='2'><polygon points='1;2'/></image>"
               "</annotations>"}, "x.xml", Reason.BAD_VALUE,
     r"^x\.xml: image 4: expected width, height and shapes in numbers"),
    ({"s/1.xml": cvat(), "s/2.xml": cvat(), "s/a.jpg": JPEG}, "s", Reason.WRONG_COUNT,
     "expected one XML of CVAT, found 1.xml, 2.xml"),
])
def test_bad_sources(files, source, reason, complaint):
    write(files)
    with raises(DataError, reason, complaint) as caught:
        read_samples(source)
    assert "\n" not in str(caught.value)


ONE = {"images": [{"id": 1, "file_name": "a.jpg", "width": 64, "height": 48}],
       "annotations": [{"image_id": 1, "category_id": 1, "bbox": [1, 1, 9, 9]}],
       "categories": [{"id": 1, "name": "cat"}]}
HUGE = 10 ** 400


def changed(kind, **values):
    """JSON with other values in its first image, annotation or category."""
    return json.dumps(ONE | {kind: [ONE[kind][0] | values]})


COCO = {        # JSON, what is said of it
    "deep": ("[" * 100_000, "not JSON: nested too deeply"), "long number": ("9" * 5000, "not JSON: "),
    "deep inside": (json.dumps(ONE).replace('"a.jpg"', "[" * 900 + "]" * 900),
                    r"images\[0\]: file_name: expected a text, found \[\["),
    "infinite id": (changed("images", id=float("inf")), r"images\[0\]: id: expected a number or a text, found Inf"),
    "infinite class": (changed("categories", id=float("inf")),
                       r"categories\[0\]: id: expected a whole number, found Infinity"),
    "NaN class": (changed("categories", id=float("nan")), r"categories\[0\]: id: expected a whole number, found NaN"),
    "huge class": (changed("categories", id=HUGE), r"categories\[0\]: id: expected a whole number, found 1000"),
    "class name": (changed("categories", name=None), r"categories\[0\]: name: expected a text, found null"),
    "list id": (changed("images", id=[1]), r"images\[0\]: id: expected a number or a text, found \[1\]"),
    "true id": (changed("images", id=True), r"images\[0\]: id: expected a number or a text, found true"),
    "huge width": (changed("images", width=HUGE), r"images\[0\]: width: expected a number of pixels, found 1000"),
    "infinite height": (changed("images", height=float("inf")), r"images\[0\]: height: .* found Infinity"),
    "NaN height": (changed("images", height=float("nan")), r"images\[0\]: height: .* found NaN"),
    "negative width": (changed("images", width=-4), r"images\[0\]: width: expected a number of pixels, found -4"),
    "text width": (changed("images", width="64"), r'images\[0\]: width: expected a number of pixels, found "64"'),
    "no width": (json.dumps(ONE | {"images": [{"id": 1, "file_name": "a"}]}), r"images\[0\]: width: .* found none"),
    "NUL": (changed("images", file_name="a\0"), r"images\[0\]: file_name: expected a text, found "),
    "two kinds of ids": (json.dumps(ONE | {"images": [ONE["images"][0], ONE["images"][0] | {"id": "1"}]}),
                         "images: expected ids that are all numbers or all texts"),
    "image": (json.dumps(ONE | {"images": [[]]}), r"images\[0\]: expected an object, found \[\]"),
    "annotations": (json.dumps(ONE | {"annotations": None}), "annotations: expected a list, found null"),
    "annotation": (json.dumps(ONE | {"annotations": [3]}), r"annotations\[0\]: expected an object, found 3"),
    "image of annotation": (changed("annotations", image_id={}), r"annotations\[0\]: image_id: .* found {}"),
    "class of annotation": (changed("annotations", category_id=[]), r"annotations\[0\]: category_id: .* found \[\]"),
    "three numbers": (changed("annotations", bbox=[1, 2, 3]), r".*bbox: expected four numbers, found \[1, 2, 3\]"),
    "huge box": (changed("annotations", bbox=[1, 2, 3, HUGE]), r"annotations\[0\]: bbox: .* found \[1, 2, 3, 1000"),
    "text box": (changed("annotations", bbox="1 2 3 4"), r'annotations\[0\]: bbox: .* found "1 2 3 4"'),
    "no box": (changed("annotations", bbox=None), r"annotations\[0\]: bbox: expected four numbers, found null"),
    "area": (changed("annotations", area="9"), r'annotations\[0\]: area: expected a number, found "9"'),
    "crowd": (changed("annotations", iscrowd=[1]), r"annotations\[0\]: iscrowd: expected 0 or 1, found \[1\]"),
}


@pytest.mark.parametrize("text, says", COCO.values(), ids=COCO)
def test_odd_values_in_coco(text, says):
    Path("c.json").write_text(text)
    for read in (read_samples, lambda path: read_truth(path, ["cat"])):
        with pytest.raises(DataError, match=f"^c.json: {says}") as caught:
            read("c.json")
        assert len(str(caught.value)) < 300


@pytest.mark.parametrize("box, says", [
    ([1, 2, -3, 4], "expected a width and height above 0"), ([1, 2, float("nan"), 4], "expected finite numbers"),
    ([float("-inf"), 2, 3, 4], "expected a width and height above 0"), ([1, 2, 0, 0], "expected a width and height")])
def test_odd_boxes_in_coco(box, says):
    """A problem of that object, not of the file."""
    Path("c.json").write_text(changed("annotations", bbox=box))
    found = read_objects(read_samples("c.json")[0], 1)
    assert len(found.rows) == 0 and [says in str(problem) for problem in found.problems] == [True]


def test_ids_that_are_texts():
    """Pictures are known by them, and annotations are numbered for COCO's measure."""
    Path("c.json").write_text(changed("images", id="x").replace('"image_id": 1', '"image_id": "x", "id": "a"'))
    assert len(read_objects(read_samples("c.json")[0], 1).rows) == 1
    truth = read_truth("c.json", ["cat"])
    assert truth.images == ["x"] and truth.data["annotations"][0]["id"] == 1


def test_entities_do_not_explode():
    bomb = "<!DOCTYPE x [<!ENTITY a '" + "x" * 1000 + "'>" + "".join(
        f"<!ENTITY {chr(98 + n)} '{f'&{chr(97 + n)};' * 20}'>" for n in range(8)) + "]>"
    write({"s/a.jpg": JPEG, "s/a.xml": f"{bomb}<annotation><object><name>&i;</name></object></annotation>"})
    read_samples("s")


@given(st.binary(max_size=200), st.sampled_from(["d.yaml", "x.xml", "c.json"]))
def test_noise_is_an_error_of_ours(tmp_path_factory, data, name):
    path = tmp_path_factory.mktemp("noise") / name
    path.write_bytes(data)
    with pytest.raises(DataError):
        read_samples(path)


def test_what_there_is_first_counts():
    """Label files before XML; a devkit before all."""
    write({**pictures("s/"), **each("s/*.txt", label), **each("s/*.xml", voc)})
    assert find_layout(Path("s")).kind == "pictures with label files"
    Path("s/a.txt").unlink()
    assert find_layout(Path("s")).kind == "pictures with label files"
    for name in "bcd":
        Path(f"s/{name}.txt").unlink()
    assert find_layout(Path("s")).kind == "Pascal VOC annotations"


@pytest.mark.parametrize("stated, told", [((64, 48), 0), ((32, 24), 0), ((48, 64), 1)])
@pytest.mark.parametrize("kind", ["voc", "coco", "cvat"])
def test_boxes_of_a_turned_picture_are_told(kind, stated, told):
    """Not those of a picture that was scaled since."""
    width, height = stated
    text = {"voc": voc("a"), "coco": coco("a"), "cvat": cvat()}[kind]
    for old, new in ((f"<width>{WIDTH}</width><height>{HEIGHT}", f"<width>{width}</width><height>{height}"),
                     (f'"width": {WIDTH}, "height": {HEIGHT}', f'"width": {width}, "height": {height}'),
                     (f'width="{WIDTH}" height="{HEIGHT}"', f'width="{width}" height="{height}"')):
        text = text.replace(old, new)
    write({**pictures("s/"), {"voc": "s/a.xml", "coco": "s/a.json", "cvat": "s/annotations.xml"}[kind]: text})
    report = check_dataset("s")
    wanted = "has 64 x 48 pixels, but its boxes were drawn on 48 x 64: was it turned?"
    found = [problem for problem in report.problems if wanted in problem.message and not problem.error]
    assert len(found) == told * len(read_samples("s"))
