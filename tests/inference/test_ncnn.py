"""The ncnn backend: what is translated computes the same, and the rest is refused."""
import os
import warnings
from pathlib import Path

import pytest
import torch
from conftest import ROOT, kit

from darknet_py import DarknetError, load_network
from darknet_py.inference.backends import build_backend
from darknet_py.inference.backends.ncnn import SPINS, Ncnn

KINDS = sorted((ROOT / "tests/goldens/kinds/forward").glob("*.npz"))
REFUSED = {     # goldens by what ncnn has no operation for here
    "remembers earlier images": "conv_lstm conv_lstm_peephole crnn crnn_shortcut gru history lstm lstm_nobn rnn",
    "cannot be said in ncnn":
        "activation_elu activation_hard_mish activation_lhtan activation_normalize_channels "
        "activation_normalize_channels_softmax activation_normalize_channels_softmax_maxval activation_plse "
        "activation_selu activation_stair avgpool batchnorm connected_bn conv_xnor implicit local local_stride2 lrn "
        "maxpool_depth reorg reorg3d reorg_reverse shortcut_fewer_channels shortcut_per_channel_relu "
        "shortcut_per_channel_softmax",
}


@pytest.mark.parametrize("path", KINDS, ids=lambda path: path.stem)
def test_every_kind(path, workdir):
    """``build_backend`` compares with PyTorch."""
    golden = kit.Golden(path)
    Path("a.cfg").write_text(golden.cfg)
    golden.write_weights("a.weights", seen=5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = load_network("a.cfg", "a.weights")
    why = next((why for why, names in REFUSED.items() if path.stem in names.split()), None)
    if why is None:
        assert build_backend(network, "ncnn", device="cpu").name == "ncnn"
    else:
        with pytest.raises(DarknetError, match=why) as caught:
            build_backend(network, "ncnn", device="cpu")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["shapes", "digits"])
def test_any_number_of_images(name):
    network = load_network(ROOT / f"cfg/{name}.cfg", ROOT / f"weights/{name}.weights")
    backend = build_backend(network, "ncnn", device="cpu")
    x = torch.rand(3, *backend.shape)
    for whole, parts in zip(backend(x), zip(*map(backend, x.split(1)), strict=True), strict=True):
        assert torch.equal(whole, torch.cat(parts))


@pytest.mark.parametrize("damage", [lambda content: content[:60], lambda content: content.replace(b"Conv", b"Cone")])
def test_content_that_is_not_of_a_model(demo, damage, capfd):
    network = load_network(*demo[:2])
    with pytest.raises((DarknetError, ValueError)):
        Ncnn.restore(network, memoryview(damage(build_backend(network, "ncnn", device="cpu").stored())))


@pytest.mark.parametrize("own", [{}, {"OMP_WAIT_POLICY": "active"}])
def test_the_environment_stays(own, monkeypatch):
    """It is changed only while ncnn is imported, and not where the user chose."""
    for name in ("OMP_WAIT_POLICY", *SPINS):
        monkeypatch.delenv(name, raising=False)
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    before, seen = dict(os.environ), []
    monkeypatch.setattr("darknet_py.inference.backends.base.import_module", lambda name: seen.append(dict(os.environ)))
    Ncnn.require()
    assert os.environ == before and seen == [before | ({} if own else SPINS)]
