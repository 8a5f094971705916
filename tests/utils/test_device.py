"""Names of devices, on machines with any number of GPUs, in the library and on the command line."""
import re

import pytest
import torch

from darknet_py import Classifier, DarknetError, Detector, load_network, train
from darknet_py.utils.device import device_name, local_device


@pytest.fixture
def gpus(monkeypatch):
    """So many GPUs are there."""
    def there(count):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
        monkeypatch.delenv("LOCAL_RANK", raising=False)
    return there


@pytest.mark.parametrize("given, name", [
    ("auto", "auto"), ("cpu", "cpu"), ("cpu:0", "cpu"), (torch.device("cpu"), "cpu"), ("cuda", "cuda"),
    (torch.device("cuda"), "cuda"), ("cuda:1", "cuda:1"), (1, "cuda:1"), ("1", "cuda:1"), (0, "cuda:0"),
    (torch.device("cuda", 1), "cuda:1"), (torch.device("meta"), "meta")])
def test_forms(gpus, given, name):
    gpus(2)
    assert device_name(given) == name
    assert local_device(given) == torch.device("cuda" if name == "auto" else name)


@pytest.mark.parametrize("given, found", [
    ("gpu", "gpu"), ("mps", "mps"), ("cuda:", "cuda:"), ("cuda:x", "cuda:x"), ("CPU", "CPU"), ("", "''"), (-1, "-1"),
    (True, "True"), (None, "None"), (1.5, "1.5"), (["cpu"], "['cpu']"), ("cpu\n", r"cpu\n"),
    ("cuda:99999", "cuda:99999")])
def test_no_device(gpus, given, found):
    gpus(2)
    with pytest.raises(DarknetError, match=f"^device needs auto, cpu, cuda or cuda:N, found {re.escape(found)}$"):
        device_name(given)


@pytest.mark.parametrize("count, given", [(0, "cuda"), (0, "cuda:0"), (0, 0), (2, "cuda:2"), (2, 9),
                                          (0, torch.device("cuda")), (2, torch.device("cuda", 2))])
def test_a_gpu_that_is_not_there(gpus, count, given):
    gpus(count)
    with pytest.raises(DarknetError, match=rf"^device {given}: there are {count} GPUs that can be used here(; .*)?$"):
        local_device(given)


def test_the_gpu_of_a_rank(gpus, monkeypatch):
    gpus(2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert local_device("auto") == local_device("cuda") == torch.device("cuda:1")
    assert local_device("cpu") == torch.device("cpu") and local_device(0) == torch.device("cuda:0")
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(DarknetError, match=r"^device cuda:2: there are 2 GPUs"):
        local_device("cuda")


@pytest.mark.parametrize("make", [
    lambda files, device: Detector(*files, device=device), lambda files, device: load_network(*files, device=device),
    lambda files, device: Classifier("c.cfg", "c.weights", device=device),
    lambda files, device: train("no.data", files[0], device=device)])
def test_wherever_one_is_taken(gpus, make, demo, workdir):
    (workdir / "c.cfg").write_text("[net]\nwidth=8\nheight=8\nchannels=3\n[convolutional]\nfilters=3\n[softmax]\n")
    load_network("c.cfg").save_weights("c.weights")
    gpus(0)
    for device, says in ("gpu", "needs auto, cpu, cuda or cuda:N, found gpu"), (0, "0: there are 0 GPUs"):
        with pytest.raises(DarknetError, match=f"^device {says}"):
            make(demo[:2], device)


@pytest.mark.parametrize("words, says", [
    (["-device", "cuda:9"], "-device cuda:9: there are 2 GPUs"), (["-i", "7"], "-i 7: there are 2 GPUs"),
    (["-device", "mps"], "-device needs auto, cpu, cuda or cuda:N, found mps")])
def test_on_the_command_line(gpus, cli, demo, workdir, words, says):
    gpus(2)
    code, out, error = cli("detect", *demo, *words)
    assert code == 1 and out == "" and error.startswith(f"darknet-py: {says}") and error.count("\n") == 1
