"""Names that stand for pictures: folders, patterns, and lists, also those that Windows wrote."""
import json
import os
from pathlib import Path

import pytest
from conftest import raises, write

from darknet_py.data.classification import ClassifierPictures
from darknet_py.data.datafile import label_path, read_data, with_slashes
from darknet_py.data.dataset import class_names, read_rows, read_samples
from darknet_py.data.lists import find_images, stands_for_itself
from darknet_py.errors import DataError, Reason
from darknet_py.live.sources import open_source

pytestmark = pytest.mark.usefixtures("workdir")
FILES = {"p/a.png": b"", "p/b.JPG": b"", "p/._c.png": b"", "p/a.txt": b"0 .5 .5 .2 .2\n", "q/d[1].png": b"",
         "e.png": b""}


@pytest.mark.parametrize("names, expected", [
    (["p"], ["p/a.png", "p/b.JPG"]), (["p", "e.png"], ["p/a.png", "p/b.JPG", "e.png"]), (["*.png"], ["e.png"]),
    (["**/*.png"], ["e.png", "p/a.png", "q/d[1].png"]), (["q/d[1].png"], ["q/d[1].png"]), (["gone.png"], ["gone.png"]),
    (["-"], ["-"]), (["http://a/b.png?c=*"], ["http://a/b.png?c=*"]), (["file://e.png"], ["e.png"]),
    (["l.txt"], ["p/a.png", "e.png", "http://a/b"]), (["q/l.list"], ["q/./d[1].png"]), (["gone.txt"], ["gone.txt"]),
])
def test_find_images(names, expected):
    write({**FILES, "l.txt": "p/a.png\n\ne.png \r\nhttp://a/b\n", "q/l.list": "./d[1].png\n"})
    assert list(find_images(names)) == expected
    assert stands_for_itself(names[0]) == (len(names) == 1 and names in (expected, ["file://e.png"]))


@pytest.mark.parametrize("name, says", [
    ("q", "q: found no pictures in this folder"), ("*.gif", r"\*\.gif: no file matches this pattern"),
    ("l.txt", "l.txt: found no paths of pictures in this list")])
def test_nothing_is_found(name, says):
    write({"q/a.txt": "", "l.txt": "\n \n"})
    with raises(DataError, Reason.EMPTY, f"^{says}$"):
        list(find_images([name]))


WINDOWS = "\ufeffp\\a.png\r\np\\b.JPG\r\n\r\n"


@pytest.mark.skipif(os.sep == "\\", reason="there \\ separates folders")
@pytest.mark.parametrize("place", ["", "lists/"])
def test_a_list_of_windows(place):
    """... with its byte order mark, its line ends and its separators."""
    write({**FILES, f"{place}l.txt": WINDOWS, f"{place}n.names": "\ufeffthing\r\n",
           "o.data": f"\ufeffclasses = 1\r\ntrain = {place}l.txt\r\nnames={place}n.names\r\n".replace("/", "\\")})
    assert list(find_images([f"{place}l.txt"])) == ["p/a.png", "p/b.JPG"]
    for source in (f"{place}l.txt", "o.data"):
        samples = read_samples(source)
        assert [str(one.image) for one in samples] == ["p/a.png", "p/b.JPG"]
        assert [one.where for one in samples] == [f"{place}l.txt:1", f"{place}l.txt:2"]
        assert read_rows(samples[0], 1)[0].shape == (1, 5) and samples[0].label == label_path("p/a.png")
    assert class_names("o.data") == ["thing"]
    pictures = ClassifierPictures.from_data("o.data")
    assert pictures.paths == ["p/a.png", "p/b.JPG"]
    source = open_source(f"{place}l.txt", report=print)
    assert [shot.image for shot in source.frames(lambda: False)] == ["p/a.png", "p/b.JPG"]


@pytest.mark.skipif(os.sep == "\\", reason="there \\ separates folders")
def test_a_name_with_a_backslash_that_exists():
    write({"p\\a.png": b"", "p/a.png": b"", "q/r\\s.png": b"", "l.txt": "p\\a.png\n", "q/l.txt": "r\\s.png\n"})
    assert with_slashes("p\\a.png") == "p\\a.png" and with_slashes("p\\c.png") == "p/c.png"
    assert list(find_images(["l.txt", "q/l.txt"])) == ["p\\a.png", "q/r\\s.png"]
    Path("o.data").write_text("backup = backup\\\nclasses=1\n")
    assert read_data("o.data") == {"backup": "backup/", "classes": "1"}


@pytest.mark.skipif(os.sep == "\\", reason="there \\ separates folders")
def test_a_data_yaml_of_windows():
    write({"s/images/train/a.png": b"", "s/labels/train/a.txt": "0 .5 .5 .2 .2\n",
           "s/l.txt": ".\\images\\train\\a.png\r\n",
           "s/data.yaml": "train: images\\train\nval: l.txt\nnames: [thing]\n"})
    for split in ("train", "valid"):
        sample, = read_samples("s/data.yaml", split)
        assert os.path.samefile(sample.image, "s/images/train/a.png") and len(read_rows(sample, 1)[0]) == 1


@pytest.mark.skipif(os.sep == "\\", reason="there \\ separates folders")
def test_a_coco_file_of_windows():
    write({"p/a.png": b"", "c.json": json.dumps({
        "images": [{"id": 1, "file_name": "p\\a.png", "width": 10, "height": 10}], "annotations": [],
        "categories": [{"id": 1, "name": "thing"}]})})
    sample, = read_samples("c.json")
    assert os.path.samefile(sample.image, "p/a.png")
