"""The commands that are killed, each with the files that it starts from and those that lie there already."""
from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from fuzzing.texts import TINY
from gpu.pictures import draw

CFG = TINY.replace("max_batches=4", "max_batches=12\nema_alpha=.9")
MODEL = ("tiny.cfg", "new.weights")
OLD = ("tiny.cfg", "old.weights")
TRAIN = ("train", "tiny.data", "tiny.cfg", "-device", "cpu", "-workers", "0", "-map", "-seed")

DRAWN = ("0.png", "1.png", "-out", "result.json", "-pictures", "drawn/", "-save_labels")


@dataclass(frozen=True)
class Case:
    """A command.

    part: which --only chooses it.
    words: of the command.
    earlier: words of a command before it, whose results it finds.
    varies: patterns of files that differ from run to run, as they have times in them, or that grow: these are read, the
        others compared with those of runs that were not killed.
    partial: patterns of files that may be there after a kill, and no more at the end.
    passing: patterns of files that may have other contents after a kill, and no more at the end.
    keeps: whatever the earlier command made must stay somewhere.
    """

    part: str
    words: tuple[str, ...]
    earlier: tuple[str, ...] = ()
    varies: tuple[str, ...] = ()
    partial: tuple[str, ...] = ()
    passing: tuple[str, ...] = ()
    keeps: bool = False

    @property
    def name(self) -> str:
        return " ".join(word for word in self.words if not word.startswith("/"))


LOCK = ("backup/*.lock", "backup/*.pid")
RUN = ("backup/*.weights", "backup/*.state", "backup/*.jsonl", "backup/tiny_report/*", "chart*.png")
FORMATS = ("weights", "safetensors", "pt", "onnx", "xml", "torchscript")


def cases(port: int) -> list[Case]:
    """All of them. port: of the server on this machine that has the file to download."""
    found = [
        Case("training", (*TRAIN, "3"), varies=RUN, partial=LOCK),
        Case("training", (*TRAIN, "3", "-no_report"), varies=RUN, partial=LOCK),
        Case("training", (*TRAIN, "3", "-clear"), (*TRAIN, "4"), varies=(*RUN, "backup/previous-*"),
             partial=LOCK, keeps=True),
        *(Case("convert", ("convert", *MODEL, f"out.{kind}"), ("convert", *OLD, f"out.{kind}"),
               varies=("out.safetensors", "out.torchscript")) for kind in FORMATS),
        Case("detect", ("detect", *MODEL, *DRAWN, "-thresh", ".1"), ("detect", *OLD, *DRAWN, "-thresh", ".2"),
             varies=("drawn/*.jpg",)),          # each run adds pictures
        Case("detect", ("detect", *MODEL, "0.png", "-thresh", ".1"), ("detect", *OLD, "0.png", "-thresh", ".2")),
        *(Case("batch", ("batch", *MODEL, "pictures", "-out", "found", "-part", "2", "-thresh", ".1", "-format", kind),
               varies=("found/manifest.json", "found/state/0*.json"), partial=("found/state/0*.lock",))
          for kind in ("coco", "yolo")),
        Case("evaluate", ("evaluate", "tiny.data", *MODEL, "-json", "all.json", "-plots", "plots"),
             ("evaluate", "tiny.data", *OLD, "-json", "all.json", "-plots", "plots"), varies=("all.json",)),
        Case("evaluate", ("detector", "valid", "tiny.data", *MODEL), ("detector", "valid", "tiny.data", *OLD)),
        Case("edit", ("edit", "tiny.cfg", "yolo.classes=3", "net.width=64")),
        Case("edit", ("new", "yolov4-tiny", "-classes", "3", "-o", "mine.cfg")),
        Case("prepare", ("detector", "calc_anchors", "tiny.data", "tiny.cfg", "-write", "tiny.cfg", "-plot", "p.png")),
        Case("prepare", ("dataset", "pictures", "-o", "set", "-force", "-copy"),
             ("dataset", "pictures", "-o", "set", "-seed", "5", "-split", ".5"), passing=("set/dataset.json",)),
        Case("prepare", ("dataset", "pictures", "-o", "set", "-force", "-format", "coco"),
             ("dataset", "pictures", "-o", "set"), passing=("set/dataset.json",)),
        Case("tools", ("rgbgr", *MODEL, "out.weights"), ("rgbgr", *OLD, "out.weights")),
        Case("tools", ("visualize", *MODEL, "filters.png"), ("visualize", *OLD, "filters.png")),
        Case("tools", ("preview", "tiny.data", "tiny.cfg"), ("preview", "tiny.data", "tiny.cfg", "-seed", "1")),
        Case("tools", ("schedule", "tiny.cfg", "-out", "rate.png")),
        Case("download", ("download", "big.weights", "-manifest", "manifest.json", "-mirror", f"http://127.0.0.1:{port}"),
             partial=("*.part", "*.part.from")),
    ]
    return found


def make_files(folder: Path) -> None:
    """Six pictures of shapes, their labels and lists, a cfg, two files of weights, and a manifest."""
    import torch

    from darknet_py import load_network
    (folder / "pictures").mkdir(parents=True)
    for number in range(6):
        picture, rows = draw(np.random.default_rng(number), (48, 48), 2)
        data = cv2.imencode(".png", picture)[1].tobytes()
        for place in (folder, folder / "pictures"):
            (place / f"{number}.png").write_bytes(data)
            (place / f"{number}.txt").write_text("".join(rows))
    (folder / "pictures/classes.txt").write_text("light\ndark\n")
    (folder / "train.txt").write_text("".join(f"{number}.png\n" for number in range(6)))
    (folder / "tiny.names").write_text("light\ndark\n")
    (folder / "tiny.data").write_text("classes=2\ntrain=train.txt\nvalid=train.txt\nnames=tiny.names\nbackup=backup\n"
                                      "results=results\nsavelast=2\nsaveweights=6\n")
    (folder / "tiny.cfg").write_text(CFG)
    for seed, name in enumerate(("old.weights", "new.weights")):
        torch.manual_seed(seed)
        load_network(folder / "tiny.cfg").save_weights(folder / name)


def make_download(folder: Path, served: Path) -> None:
    """A file on the server, and a manifest that has it."""
    data = np.random.default_rng(1).bytes(3 << 20)
    served.mkdir()
    (served / "big.weights").write_bytes(data)
    (folder / "manifest.json").write_text(json.dumps({"files": {"big.weights": {
        "urls": ["http://127.0.0.1:9/big.weights"], "bytes": len(data),
        "sha256": [hashlib.sha256(data).hexdigest()]}}}))
