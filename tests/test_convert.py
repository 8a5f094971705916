"""Conversions: each layer kind, each format, other programs' tensors, and what cannot be."""
from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, kit

from darknet_py import load_network, parse_cfg
from darknet_py.cli import main
from darknet_py.convert import convert
from darknet_py.convert.formats import FORMATS, RECURRENT, Wanted
from darknet_py.errors import DarknetError

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

KINDS = sorted((ROOT / "tests/goldens/kinds/forward").glob("*.npz"))


@pytest.fixture
def golden(request, tmp_path, monkeypatch):
    """A golden's cfg and weights in the current folder: a.cfg, a.weights."""
    monkeypatch.chdir(tmp_path)
    golden = kit.Golden(request.param)
    Path("a.cfg").write_text(golden.cfg)
    golden.write_weights("a.weights", seen=2 ** 33 + 5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield golden


@pytest.mark.parametrize("golden", KINDS, indirect=True, ids=lambda path: path.stem)
@pytest.mark.parametrize("extension", ["safetensors", "pt", "weights"])
def test_there_and_back(golden, extension):
    convert("a.cfg", "a.weights", f"b.{extension}", check=False)
    convert("a.cfg", f"b.{extension}", "c.weights", check=False)
    assert Path("c.weights").read_bytes() == Path("a.weights").read_bytes()


@pytest.mark.parametrize("golden", KINDS, indirect=True, ids=lambda path: path.stem)
def test_every_kind_in_onnx(golden):
    if {section.kind for section in parse_cfg(golden.cfg).sections} & set(RECURRENT):
        with pytest.raises(DarknetError, match=r"^a.cfg:\d+: \[\w+\] remembers earlier images"):
            convert("a.cfg", "a.weights", "b.onnx")
        assert not Path("b.onnx").exists()
    else:
        assert convert("a.cfg", "a.weights", "b.onnx").parity.error < 1e-4
