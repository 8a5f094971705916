"""Write the files of cfg/ that follow from the architectures, lists of names, data files, and weights/manifest.json.

    python scripts/make_cfgs.py             writes them
    python scripts/make_cfgs.py --check     writes nothing; says which are not up to date, and ends with exit status 1

The architectures are in darknet_py/zoo/architectures, in the field's terms; cfg/shapes.* are
examples/shapes/make_demo.py's.
"""
from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from darknet_py.data.coco import NAMES, OTHER_NAMES
from darknet_py.utils.files import replacing
from darknet_py.zoo.architectures import ARCHITECTURES, cfg_text
from darknet_py.zoo.manifest import manifest

ROOT = Path(__file__).resolve().parent.parent
VOC = ("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
       "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor")
DATA = """\
# {title}
classes={classes}
# lists of pictures, a path a line; each picture's labels lie beside it, or in labels/ where it lies in images/
train={train}
valid={valid}
# a class a line
names={names}
# where training saves weights
backup=backup
{more}"""


def files() -> dict[str, str]:
    """Path -> text of all that is to be written."""
    darknet = {name: other for other, name in OTHER_NAMES.items()}
    return {f"cfg/{name}.cfg": cfg_text(name) for name in ARCHITECTURES} | {
        "weights/manifest.json": manifest(),
        "cfg/coco.names": lines(darknet.get(name, name) for name in NAMES),
        "cfg/voc.names": lines(VOC),
        "cfg/coco.data": DATA.format(title="COCO 2017", classes=len(NAMES), train="coco/train2017.txt",
                                     valid="coco/val2017.txt", names="cfg/coco.names", more="eval=coco\n"),
        "cfg/obj.data": DATA.format(title="A data set of your own: copy, and say what is yours", classes=2,
                                    train="data/train.txt", valid="data/valid.txt", names="data/obj.names", more=""),
    }


def lines(words: Iterable[str]) -> str:
    return "".join(f"{word}\n" for word in words)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, say what differs")
    check, stale = parser.parse_args().check, 0
    for name, text in files().items():
        path = ROOT / name
        if path.is_file() and path.read_bytes() == text.encode():
            continue
        stale += 1
        print(f"{name} {'is not what its description says' if check else 'written'}")
        if not check:
            with replacing(path) as file:
                file.write(text.encode())
    return int(check and stale > 0)


if __name__ == "__main__":
    sys.exit(main())
