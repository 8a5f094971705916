"""The cfgs of the zoo: up to date, and what the original files mean."""
from __future__ import annotations

import subprocess
import sys
import warnings
from dataclasses import asdict

import pytest
import torch
from conftest import ROOT, SHARED, raises

from darknet_py.cfg.language import Cfg, parse_cfg, read_cfg
from darknet_py.data.datafile import read_data, read_names
from darknet_py.errors import DataError, Reason
from darknet_py.model.network import Network
from darknet_py.zoo.architectures import ARCHITECTURES, VARIANTS, cfg_text

ORIGINAL = SHARED / "reference/cfg"
ORIGINALS = {"Gaussian_yolov3": "Gaussian_yolov3_BDD.cfg", "yolov1-tiny": "yolov1/tiny-yolo.cfg"}
WITHOUT_ORIGINAL = {"csresnext50-panet-spp-rfb", "csresnext50-panet-spp-sam", "csresnext50-panet-spp-sam-gaussian",
                    "csresnext50-panet-spp-asff-rfb", "csresnext50-bifpn-spp", "digits"}


def network(cfg: Cfg) -> Network:
    with torch.device("meta"):
        return Network(cfg)


def meaning(network: Network) -> list:
    """Options, wiring, shapes and what the weights file holds.

    References by the layer that they name, padding in pixels: pad=1 says nothing of a convolution of 1 x 1.
    """
    return [asdict(network.options)] + [
        (layer.kind, step.sources, layer.shape, getattr(layer, "padding", None),
         {key: value for key, value in asdict(layer.options).items()
          if key not in ("layers", "from_", "pad", "padding")},
         [tuple(blob.tensor.shape) for blob in layer.blobs()])
        for layer, step in zip(network.layers, network.plan, strict=True)]


def test_files_are_up_to_date():
    done = subprocess.run([sys.executable, ROOT / "scripts/make_cfgs.py", "--check"], capture_output=True, text=True,
                          cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.needs_shared("reference")
@pytest.mark.parametrize("name", ["coco.names", "voc.names"])
def test_names_are_darknets(name):
    assert read_names(ROOT / "cfg" / name) == read_names(ORIGINAL.parent / name)


@pytest.mark.parametrize("name, classes", [("coco.data", 80), ("obj.data", 2)])
def test_data_files_are_read(name, classes):
    entries = read_data(ROOT / "cfg" / name)
    assert int(entries["classes"]) == classes
    assert {"train", "valid", "names", "backup"} < set(entries)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_builds_without_a_warning_and_runs(name):
    built = network(parse_cfg(cfg_text(name), strict=True))
    outputs = built(torch.empty(1, *built.input_shape, device="meta"))
    outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    assert [output.shape[1:].numel() for output in outputs] == [built.layers[head].shape.size for head in built.heads]


@pytest.mark.needs_shared("reference/cfg")
@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name not in WITHOUT_ORIGINAL])
def test_means_what_the_original_means(name):
    cfg = parse_cfg(cfg_text(name), strict=True)
    mine = meaning(network(cfg))
    original = ORIGINALS.get(name, f"{name}.cfg")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = meaning(network(read_cfg(ORIGINAL / original)))
    assert len(mine) == len(theirs)
    for index, (one, other) in enumerate(zip(mine, theirs, strict=True), -1):
        assert one == other, f"layer {index}"


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_variants_build_or_are_refused(name, variant):
    try:
        text = cfg_text(name, classes=3, variants=[variant])
    except DataError as error:
        assert variant in str(error) and name in str(error)
        return
    kinds = {"sam": "sam", "gaussian": "Gaussian_yolo", "spp": "maxpool"}
    cfg = parse_cfg(text, strict=True)
    assert kinds[variant] in [section.kind for section in cfg.sections]
    assert text != cfg_text(name, classes=3)
    network(cfg)


def test_unknown_name():
    with raises(DataError, Reason.UNKNOWN_NAME, r"found yolo4; did you mean yolov4\?"):
        cfg_text("yolo4")
