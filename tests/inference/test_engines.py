"""Precisions, "auto", and the cache of compiled models."""
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from conftest import TINY_CFG

from darknet_py import DarknetError, Detector, load_network, parse_cfg
from darknet_py.errors import BackendWarning
from darknet_py.inference import backends
from darknet_py.inference.backends import BACKENDS, build_backend, choose, open_backend
from darknet_py.inference.backends.ncnn import Ncnn
from darknet_py.inference.backends.openvino import OpenVino
from darknet_py.model.network import LazyNetwork, Network
from darknet_py.utils import cache

PLAIN = TINY_CFG.replace("stride=4", "stride=1", 1)
RNN = "[net]\ninputs=4\n[rnn]\noutput=4\nhidden=4\n"


@pytest.fixture
def small(workdir, monkeypatch):
    """A network of three layers, with an empty cache of its own."""
    monkeypatch.setenv("DARKNET_PY_CACHE", str(workdir / "cache"))
    (workdir / "a.cfg").write_text(PLAIN)
    torch.manual_seed(0)
    load_network("a.cfg").save_weights("a.weights")
    return LazyNetwork("a.cfg", "a.weights")


@pytest.mark.parametrize("name, precision", [
    ("pytorch", "bfloat16"), ("pytorch", "float16"), ("openvino", "bfloat16"), ("openvino", "float16")])
@pytest.mark.filterwarnings("ignore::darknet_py.errors.BackendWarning")
def test_lower_precisions_are_near(demo, name, precision):
    one, other = (Detector(*demo[:2], device="cpu", backend=backend, precision=kind)(demo[2])
                  for backend, kind in (("pytorch", "float32"), (name, precision)))
    np.testing.assert_allclose(other.scores, one.scores, atol=.02)


def test_compile(small):
    x = torch.rand(2, *small.outline.input_shape)
    expected = build_backend(load_network("a.cfg", "a.weights"), device="cpu")(x)
    if shutil.which("c++") is None:
        pytest.skip("no compiler")
    for one, other in zip(expected, open_backend(small, "compile", device="cpu")(x), strict=True):
        torch.testing.assert_close(other, one, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("options, message", [
    ({"backend": "tensorrt"}, "backend=tensorrt needs the package tensorrt: pip install tensorrt"),
    ({"backend": "onnxruntime", "precision": "bfloat16"}, "computes in float32, found precision=bfloat16"),
    ({"precision": "half"}, r"expected a precision \(float32, bfloat16, float16, int8\), found half"),
    ({"precision": "int8"}, "precision=int8 needs a model in the place of a.weights; darknet-py quantize makes one"),
    ({"backend": "nothing"}, "expected a backend .auto, .*, found nothing"),
])
def test_what_cannot_be_had(small, options, message):
    with pytest.raises(DarknetError, match=message) as caught:
        open_backend(small, **options)
    assert "\n" not in str(caught.value)


def test_a_missing_compiler(small, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(DarknetError, match=r"backend=compile needs a C\+\+ compiler"):
        open_backend(small, "compile", device="cpu")


def test_tensorrt_without_a_gpu(small, monkeypatch):
    """Wired up as far as that can be seen without the package and a GPU."""
    monkeypatch.setitem(sys.modules, "tensorrt", ModuleType("tensorrt"))
    with pytest.raises(DarknetError, match="backend=tensorrt runs on a GPU, found device=cpu"):
        open_backend(small, "tensorrt", device="cpu")


@pytest.mark.parametrize("options, names, why", [
    ({}, "ncnn openvino", "66 % of the FLOPs are plain 3 x 3 convolutions"),
    ({"text": "[net]\nwidth=8\nheight=8\nchannels=3\n[conv]\nsize=1\n"}, "openvino ncnn",
     "0 % of the FLOPs are plain 3 x 3 convolutions"),
    ({"device": "cuda"}, "", "there is a GPU"),
    ({"text": RNN}, "", "layer 0 [rnn] remembers earlier images"),
    ({"precision": "bfloat16"}, "openvino", "it computes in bfloat16"),
    ({"missing": "ncnn"}, "openvino", "ncnn is not installed"),
    ({"missing": "openvino"}, "ncnn", "openvino is not installed"),
    ({"missing": "ncnn openvino"}, "", "ncnn and openvino are not installed"),
])
def test_auto_and_why(options, names, why, monkeypatch):
    monkeypatch.setattr(backends, "find_spec", lambda name: name not in options.get("missing", ""))
    network = Network(parse_cfg(options.get("text", PLAIN)))
    assert choose(network, options.get("device", "cpu"), options.get("precision", "float32")) == (
        (*names.split(), "pytorch"), why)


def opened(**options):
    return open_backend(LazyNetwork("a.cfg", "a.weights"), device="cpu", **options).name


def test_few_images_take_a_cached_model_or_pytorch(small):
    assert opened(few=True) == "pytorch" and opened() == "ncnn" and opened(few=True) == "ncnn"


def test_auto_where_ncnn_cannot_express_the_network(small, monkeypatch):
    """... which is found out once."""
    Path("a.cfg").write_text(PLAIN.replace("activation=leaky", "activation=stair"))
    with pytest.raises(DarknetError, match=r"^a.cfg:16: \[convolutional\] cannot be said in ncnn$"):
        opened(backend="ncnn")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert opened() == "openvino"
    monkeypatch.setattr(Ncnn, "build", None)
    assert opened() == "openvino" and choose(LazyNetwork("a.cfg", "a.weights").outline, "cpu") == (
        ("openvino", "pytorch"), "ncnn cannot express the network")


def test_networks_that_cannot_be_expressed(workdir):
    (workdir / "r.cfg").write_text(RNN)
    load_network("r.cfg").save_weights("r.weights")
    files = LazyNetwork("r.cfg", "r.weights")
    with pytest.raises(DarknetError, match=r"^r.cfg:3: \[rnn\] remembers earlier images"):
        open_backend(files, "openvino", device="cpu")
    assert open_backend(files, device="cpu").name == "pytorch"


@pytest.mark.parametrize("name", ["ncnn", "openvino", "onnxruntime"])
def test_a_cached_model_needs_no_weights_nor_onnx(small, name, monkeypatch):
    x = torch.rand(2, *small.outline.input_shape)
    expected = open_backend(small, name, device="cpu")(x)
    monkeypatch.setitem(sys.modules, "onnx", None)
    again = LazyNetwork("a.cfg", "a.weights")
    for one, other in zip(expected, open_backend(again, name, device="cpu")(x), strict=True):
        torch.testing.assert_close(other, one)
    assert "network" not in vars(again)             # not loaded


def test_other_weights_are_another_model(small, workdir):
    open_backend(small, "openvino", device="cpu")
    load_network("a.cfg").save_weights("b.weights")
    open_backend(LazyNetwork("a.cfg", "b.weights"), "openvino", device="cpu")
    assert len(list((workdir / "cache").iterdir())) == 2


@pytest.mark.parametrize("damage", [lambda data: data[:50], lambda data: b"", lambda data: data[:-200] + data[-100:],
                                    lambda data: data[:100] + b"x" + data[101:]])
def test_a_damaged_cache(small, workdir, damage):
    open_backend(small, "openvino", device="cpu")
    path, = (workdir / "cache").iterdir()
    path.write_bytes(damage(path.read_bytes()))
    with pytest.warns(BackendWarning, match="the cached file is damaged; the model is compiled again") as warned:
        open_backend(LazyNetwork("a.cfg", "a.weights"), "openvino", device="cpu")
    assert len(warned) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_backend(LazyNetwork("a.cfg", "a.weights"), "openvino", device="cpu")       # it is whole again


def test_a_cache_that_cannot_be_written(small, workdir):
    (workdir / "cache").write_text("a file, no folder")
    with pytest.warns(BackendWarning, match="cannot write the file: .*; the model is compiled anew") as warned:
        assert open_backend(small, "openvino", device="cpu").name == "openvino"
    assert len(warned) == 1


def test_no_cache(small, workdir, monkeypatch):
    monkeypatch.setenv("DARKNET_PY_CACHE", "")
    open_backend(small, "openvino", device="cpu")
    assert not (workdir / "cache").exists()


def test_a_full_cache_loses_what_was_not_used_for_longest(tmp_path):
    files = cache.Cache(tmp_path, most=400)
    for number, key in enumerate("abc"):
        files.put(key, key.encode() * 100)
        os.utime(tmp_path / f"{key}.model", (number, number))
    assert bytes(files.get("a")) == b"a" * 100      # so b is the oldest
    files.put("d", b"d" * 100)
    assert {path.stem for path in tmp_path.iterdir()} == {"a", "c", "d"}
    files.put("e", b"e" * 500)                      # larger than all may be
    assert files.get("e") is None and files.get("a") is not None


def test_a_hash_is_remembered_until_the_file_changes(tmp_path, monkeypatch):
    path, files, count = tmp_path / "a.weights", cache.Cache(tmp_path / "cache"), []
    path.write_bytes(b"one")
    first = cache.hash_file(path)
    monkeypatch.setattr(cache, "hash_file", lambda path, hashed=cache.hash_file: count.append(path) or hashed(path))
    assert [files.hash_of(path) for _ in range(3)] == [first] * 3 and len(count) == 3       # it has just changed
    monkeypatch.setattr(cache, "SETTLED", 0)
    assert [files.hash_of(path) for _ in range(3)] == [first] * 3 and len(count) == 4
    facts = path.stat()
    path.write_bytes(b"two")                        # as long, and with the same time
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert files.hash_of(path) != first and len(count) == 5
    for damaged in (b"{", b"[]", b'{"%b": [1]}' % bytes(path)):
        (tmp_path / "cache" / cache.HASHES).write_bytes(damaged)
        assert files.hash_of(path) != first
    assert len(count) == 8
    assert cache.Cache(None).hash_of(path) == files.hash_of(path)


def test_a_cpu_without_bfloat16(small, monkeypatch):
    import openvino
    monkeypatch.setattr(openvino.Core, "get_property", lambda *_: ["FP32"])
    with pytest.warns(BackendWarning, match="this CPU does not compute in bfloat16; it computes in float32"):
        assert open_backend(small, "openvino", "bfloat16", "cpu").precision == "float32"


def test_auto_falls_back_where_all_fail(small, monkeypatch):
    for kind, method in ((Ncnn, "build"), (OpenVino, "of_model")):
        monkeypatch.setattr(kind, method, lambda *_: (_ for _ in ()).throw(RuntimeError("broken\nmore")))
    with pytest.warns(BackendWarning, match="cannot run this network in float32: broken; PyTorch takes its place"):
        assert open_backend(small, device="cpu").name == "pytorch"


def test_flags(cli, demo, workdir):
    code, out, err = cli("detect", *demo, "-backend", "openvino", "-dontdraw_bbox")
    assert code == 0 and err == "" and out.count("%") > 5
    code, _, err = cli("detect", *demo, "-precision", "int9")
    assert code == 1 and err == ("darknet-py: expected a precision (float32, bfloat16, float16, int8), found int9; did "
                                 "you mean int8?\n")
    code, _, err = cli("detector", "train", "x.data", demo[0], "-backend", "openvino")
    assert code == 1 and "training takes no -backend, found openvino" in err
    _, out, _ = cli("info", demo[0])
    assert "backend          openvino, for 0 % of the FLOPs are plain 3 x 3 convolutions (-backend auto)\n" in out


def test_help_names_all_backends():
    done = subprocess.run([sys.executable, "-m", "darknet_py", "detect", "--help"], capture_output=True, text=True,
                          check=True)
    assert all(name in done.stdout for name in ("auto", *BACKENDS))
