"""COCO's files and the weights: fetched, unpacked and checked."""
from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import zlib
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile, ZipFile

from darknet_py.cfg.language import read_cfg
from darknet_py.cli import download
from darknet_py.data.coco import read_coco_json
from darknet_py.errors import DataError, Reason, WeightsError, printable
from darknet_py.utils.files import replacing, temporary_folder
from darknet_py.zoo.download import find_mismatch
from darknet_py.zoo.manifest import OFFICIAL, Published, how_to_get

COCO = "http://images.cocodataset.org"
# Below COCO. As tensorflow_datasets' url_checksums/coco.txt has them.
ARCHIVES = {
    "zips/val2017.zip": Published(
        (), 815_585_330, ("4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05",)),
    "annotations/annotations_trainval2017.zip": Published(
        (), 252_907_541, ("113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268",)),
    "zips/test2017.zip": Published(
        (), 6_646_970_404, ("c7908c3c9f94ba2f3340ebbeec58c25db6be8774f18d68c2f15d0e369d95baba",)),
    "annotations/image_info_test2017.zip": Published(
        (), 1_144_034, ("e52f412dd7195ac8f98d782b44c6dd30ea10241e9f42521f67610fbe055a74f8",)),
}


class Split(NamedTuple):
    """Part of COCO: how many images it has; its JSON and its folder of pictures, and the archives that hold them."""

    images: int
    json: str
    json_archive: str
    pictures: str
    pictures_archive: str


SPLITS = {
    "val2017": Split(5000, "annotations/instances_val2017.json", "annotations/annotations_trainval2017.zip", "val2017",
                     "zips/val2017.zip"),
    "test-dev2017": Split(20288, "annotations/image_info_test-dev2017.json", "annotations/image_info_test2017.zip",
                          "test2017", "zips/test2017.zip"),
}


class Files(NamedTuple):
    """What lies on the disk."""

    json: Path
    pictures: Path


def provide(a: argparse.Namespace) -> Files:
    """See that everything is there, and is what it should be."""
    read_cfg(a.cfg)
    split = SPLITS[a.split]
    provide_weights(a)
    path = a.coco / split.json
    if not path.exists():
        unzip(archive(a, split.json_archive, path), split.json, path)
    folders = [a.coco / split.pictures, a.coco / "images" / split.pictures]
    folder = next((folder for folder in folders if folder.is_dir()), folders[0])
    if not folder.exists():
        unzip(archive(a, split.pictures_archive, folder), split.pictures, folder)
    check_images(a, path, folder)
    return Files(path, folder)


def provide_weights(a: argparse.Namespace) -> None:
    facts = OFFICIAL.get(a.weights.name)
    if not a.weights.exists():
        if facts is None or not a.download:
            raise WeightsError(f"{a.weights}: no such weights file; {how_to_get(a.weights)}"
                               f"{'' if facts is None else ', or have it fetched with --download'}",
                               Reason.MISSING_FILE)
        fetch(a.weights, facts if a.weights_url is None else
              facts._replace(urls=(f"{a.weights_url}/{a.weights.name}",)))
    if facts is not None and (wrong := find_mismatch(a.weights, facts.size, facts.sha256)) is not None:
        raise WeightsError(f"{a.weights}: not the official {a.weights.name}: {wrong}; take it away, and have it "
                           "fetched with --download", Reason.CORRUPT)


def archive(a: argparse.Namespace, name: str, target: Path) -> Path:
    """The path of one of COCO's archives, that ``target`` is in."""
    path, facts, url = a.coco / Path(name).name, ARCHIVES[name], f"{a.coco_url}/{name}"
    if not path.exists() and not a.download:
        raise DataError(f"{target}: not there; have it fetched with --download ({facts.size / 1e6:.0f} MB), or get "
                        f"{url} in another way, and put it into {a.coco}", Reason.MISSING_FILE)
    fetch(path, facts._replace(urls=(url,)))
    return path


def fetch(path: Path, facts: Published) -> None:
    print(download.fetch(path, facts), file=sys.stderr)


def unzip(path: Path, member: str, target: Path) -> None:
    """The file ``member`` of an archive, or the files in the folder ``member``, as ``target``: whole or not at all."""
    print(f"{path}: unpacking {member}", file=sys.stderr, flush=True)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary_folder(target.parent) as folder, ZipFile(path) as zipped:
            names = zipped.namelist()
            inside = [name for name in names if name.startswith(f"{member}/") and not name.endswith("/")]
            if member in names:
                with zipped.open(member) as source, replacing(target) as file:
                    shutil.copyfileobj(source, file)
                return
            if not inside:
                raise DataError(printable(f"{path}: expected {member} in it, found {names[0] if names else 'nothing'}"),
                                Reason.WRONG_FORMAT)
            unpacked = folder / target.name
            unpacked.mkdir()
            for name in inside:
                plain = name.removeprefix(f"{member}/")
                if not re.fullmatch(r"\w[\w.-]*", plain):           # nothing that leads elsewhere
                    raise DataError(printable(f"{path}: expected pictures in {member}/, found {name}"),
                                    Reason.WRONG_FORMAT)
                with zipped.open(name) as source, open(unpacked / plain, "wb") as file:
                    shutil.copyfileobj(source, file)
            unpacked.rename(target)
    except OSError as error:
        raise DataError(f"{target}: cannot be unpacked from {path}: {error.strerror or error}",
                        Reason.UNWRITABLE) from None
    except (BadZipFile, EOFError, NotImplementedError, RuntimeError, zlib.error) as error:
        raise DataError(f"{path}: cannot be unpacked: {error}", Reason.CORRUPT) from None


def check_images(a: argparse.Namespace, path: Path, folder: Path) -> None:
    """Whether all pictures are there, so far as they are asked for."""
    images = read_coco_json(path)["images"]
    count = SPLITS[a.split].images if a.images is None else a.images
    if len(images) != count:
        raise DataError(f"{path}: expected the {count} images of {a.split}, found {len(images)} (--images for others)",
                        Reason.WRONG_COUNT)
    try:
        there = set(os.listdir(folder))
        missing = [name for image in images[:a.limit] if (name := str(image["file_name"])) not in there]
    except OSError as error:
        raise DataError(f"{folder}: cannot read the folder: {error.strerror}", Reason.UNREADABLE) from None
    except (KeyError, TypeError):
        raise DataError(f"{path}: expected images, each with file_name", Reason.WRONG_FORMAT) from None
    if missing:
        raise DataError(printable(f"{folder}: {len(missing)} of {len(images)} pictures are missing, the first is "
                                  f"{missing[0]}; take the folder away, and have it fetched with --download"),
                        Reason.MISSING_FILE)
