"""PyTorch checkpoints: what is read from them, and hostile ones refused in one line, with bounds on time and memory."""
from __future__ import annotations

import io
import struct
import zipfile
from collections import Counter, OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import raises
from safetensors.torch import save_file

from darknet_py.errors import Reason, WeightsError
from darknet_py.model import torch_file, unpickler
from darknet_py.model.tensors import read_tensors

CFG = "[net]\nwidth=8\nheight=8\nchannels=3\n[convolutional]\nfilters=2\nsize=1\n"
NUMBERS = torch.arange(24.).reshape(4, 6)
DICT, STOP = b"\x80\x02}", b"."
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value


def number(value):
    return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)


def storage(key=b"0", count=4, kind=b"FloatStorage"):
    return b"(" + text(b"storage") + b"ctorch\n" + kind + b"\n" + text(key) + text(b"cpu") + number(count) + b"tQ"


def tensor(offset=0, shape=(2, 2), stride=(2, 1), **stored):
    """The pickle of a mapping with one tensor, of a storage of four numbers."""
    sides, steps = (b"(" + b"".join(map(number, numbers)) + b"t" for numbers in (shape, stride))
    return DICT + text(b"a.weight") + REBUILD + b"(" + storage(**stored) + number(offset) + sides + steps + b"\x89)tRs."


def archive(pickle, data=bytes(range(16)), compression=zipfile.ZIP_STORED, **more):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression, compresslevel=1) as members:
        for name, content in {"data.pkl": pickle, "data/0": data, "version": b"3", **more}.items():
            members.writestr(f"x/{name}", content)
    return file.getvalue()


def saved(values, **options):
    file = io.BytesIO()
    torch.save(values, file, **options)
    return file.getvalue()


def again(data, order="little", compression=zipfile.ZIP_DEFLATED):
    """A checkpoint packed again as another program would."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as members, zipfile.ZipFile(file, "w", compression) as others:
        for name in members.namelist():
            content = order if name.endswith("byteorder") else members.read(name)
            if order == "big" and "/data/" in name:
                content = np.frombuffer(content, "<f4").astype(">f4").tobytes()
            others.writestr(name, content)
    return file.getvalue()


def attributed():
    parameter = torch.nn.Parameter(NUMBERS.clone())
    parameter.tag = "a"
    return parameter


BESIDE = {"epoch": 3, "best": np.float64(.5), "loss": np.float32(1), "bytes": b"abc", "array": bytearray(b"a"),
          "set": {1}, "counter": Counter("aab"), "size": torch.Size([2]), "device": torch.device("cpu"),
          "type": torch.float32, "rates": [.1, -1, 2 ** 80, None, (1, 2, 3, 4)],
          "sparse": torch.eye(2).to_sparse(), (1, (2, 3)): 4}


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("value", [
    NUMBERS, NUMBERS.t(), NUMBERS[1:3, ::2], torch.ones(1, 3).expand(5, 3), torch.tensor(3.), torch.zeros(0, 4),
    NUMBERS.half(), NUMBERS.bfloat16(), NUMBERS.double(), NUMBERS.long(), NUMBERS.to(torch.int8), NUMBERS > 3,
    NUMBERS.to(torch.uint16), NUMBERS.to(torch.float8_e5m2), attributed(),
    torch.nn.Parameter(NUMBERS.clone(), requires_grad=False)], ids=lambda value: f"{value.dtype}-{tuple(value.shape)}")
def test_tensors_of_every_form(workdir, value, older):
    values = OrderedDict(first=NUMBERS, other=value)
    values._metadata = {"version": 1}
    torch.save({"model": values, **BESIDE}, "a.pt", _use_new_zipfile_serialization=not older)
    named = read_tensors("a.pt").named
    assert list(named) == ["first", "other"] and torch.equal(named["first"].to(torch.float32), NUMBERS)
    assert torch.equal(named["other"].to(torch.float32), value.detach().to(torch.float32))


@pytest.mark.parametrize("data", [
    again(saved({"a.weight": NUMBERS})), again(saved({"a.weight": NUMBERS}), "big", zipfile.ZIP_STORED),
    saved({"a.weight": NUMBERS}, pickle_protocol=3),
    archive(DICT + text(b"a.weight") + b"ctorch\nFloatTensor\n)R(" + storage(count=24)
            + b"K\x00K\x04K\x06\x86K\x06K\x01\x86tbs.", NUMBERS.numpy().tobytes()),
    archive(b"\x80\x02ccollections\nOrderedDict\n]]" + text(b"a.weight") + b"a" + REBUILD + b"(" + storage(count=24)
            + b"K\x00ctorch\nSize\nK\x04K\x06\x86\x85RK\x06K\x01\x86\x89)tRaa\x85R.", NUMBERS.numpy().tobytes()),
], ids=["compressed", "big-endian", "protocol 3", "of PyTorch 0.1", "of Python 2"])
def test_other_writers(workdir, data):
    Path("a.pt").write_bytes(data)
    assert torch.equal(read_tensors("a.pt").named["a.weight"].to(torch.float32), NUMBERS)


def headed(**facts):
    return saved({"state_dict": {"layers.0.weight": torch.ones(2, 3, 1, 1), "layers.0.bias": torch.ones(2)}, **facts})


def broken(data, *changes):
    for old, new in changes:
        assert old in data
        data = data.replace(old, new)
    return data


HEADER = "[0, 2, 5, 0, 20]"
WHOLE = "not a whole PyTorch checkpoint: "
DAMAGED = WHOLE + "its pickle ends, or is damaged, at byte "
DENSE = "expected dense tensors of real numbers, found "
SIZES = WHOLE + "a tensor of negative or overlong sizes"
FIVE = "expected a header of five whole numbers and a number of layers beside the tensors, found something else"
OLDER = saved({"a.weight": NUMBERS}, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("data, message", [
    (b"", WHOLE + "the file is empty"), (b"PK", DAMAGED), (b"PK\3\4", WHOLE + "File is not a zip file"),
    (archive(b""), DAMAGED + "0"), (archive(b"."), DAMAGED + "1"), (archive(b"...."), DAMAGED + "1"),
    (archive(DICT), DAMAGED + "3"), (archive(DICT + b"0."), DAMAGED + "4"), (archive(DICT + b"h\x07."), DAMAGED + "5"),
    (archive(DICT + b"NRs."), DAMAGED + "5"), (archive(DICT + b"(NNNu."), DAMAGED + "8"),
    (archive(DICT + b"\xff"), DAMAGED + "4"), (archive(DICT + b"b"), DAMAGED + "4"),
    (archive(b"\x80\x02" + text(b"\xff")[:-1]), DAMAGED + "7"),
    (archive(b"\x80\x02L" + b"9" * 9999 + b"L\n."), DAMAGED),
    (archive(b"\x80\x02ccollections\nOrderedDict\nK\x01\x85R."), DAMAGED),
    (archive(DICT + REBUILD + b")Rs."), DAMAGED), (archive(b"\x80\x02" + b"K\x01Q."), DAMAGED + "5"),
    (archive(DICT + b")" + b"\x85" * 150000 + b"Ns."), "expected a state dict (names and tensors), found dict"),
    (archive(b"\x80\x02" + b"]" * 9000 + b"a" * 8999 + b"."),
     "expected a state dict (names and tensors), found list"),
    (archive(DICT + b"cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\n" + text(b"O8") + b"K\x00K\x01\x87R(K\x03"
             + text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x04tbU\x08aaaaaaaa\x86RNs."),
     "expected a state dict (names and tensors), found dict"),
    (archive(b"\x80\x02cos\nsystem\n."), "holds Python objects, which would have to be executed"),
    (saved({"a.weight": NUMBERS}, pickle_protocol=4), WHOLE + "expected a pickle of protocol 2, as torch.save "),
    (archive(b"\x80\x02" + text(b"os") + text(b"system") + b"\x93."), "holds Python objects, which would"),
    (archive(DICT + STOP, **{"constants.pkl": b"."}), "holds a TorchScript program, which would have to be executed"),
    (saved({"a.weight": torch.eye(3).to_sparse()}), DENSE + "a sparse tensor, a.weight"),
    (saved({"a.weight": torch.empty(3, device="meta")}), DENSE + "a meta tensor, a.weight"),
    (saved({"a.weight": torch.ones(2, dtype=torch.complex64)}), DENSE + "a tensor of torch.complex64, a.weight"),
    (archive(DICT + text(b"a.weight") + b"ctorch._utils\n_rebuild_qtensor\n)Rs."), DENSE + "a quantised tensor, a.w"),
    (archive(tensor(offset=-1)), SIZES), (archive(tensor(shape=(-2, -2))), SIZES),
    (archive(tensor(stride=(-2, 1))), SIZES), (archive(tensor(shape=(2, 2, 2))), SIZES),
    (archive(tensor(shape=(1 << 40, 1 << 40), stride=(0, 0))), SIZES), (archive(tensor(offset=1 << 63)), SIZES),
    (archive(tensor(offset=1)), WHOLE + "a tensor that reaches beyond its storage of 16 bytes"),
    (archive(tensor(shape=(1 << 31, 2))), WHOLE + "a tensor that reaches beyond its storage of 16 bytes"),
    (archive(tensor(count=-4)), DAMAGED), (archive(tensor(kind=b"Size")), DAMAGED),
    (archive(tensor(key=b"1")), WHOLE + "expected 16 bytes of storage '1', found none"),
    (archive(tensor(), b"\0" * 15), WHOLE + "expected 16 bytes of storage '0', found 15"),
    (archive(tensor(), byteorder=b"middle"), WHOLE + "a byte order that is neither little nor big"),
    (archive(tensor(), compression=zipfile.ZIP_LZMA), WHOLE + "a member of the archive that is missing, encrypted or"),
    (broken(archive(tensor()), (b"x/data.pkl", b"x/dota.pkl")), WHOLE + "no data.pkl in the archive"),
    (broken(archive(tensor()), (b"PK\5\6", b"PK\5\7")), WHOLE + "File is not a zip file"),
    (archive(broken(tensor(), (b"a.weight", b"a.we\nght"))), "expected printable names of at most 1000 "),
    (archive(broken(tensor(), (text(b"a.weight"), text(b"a" * 2000000)))), "expected printable names of at most 1000"),
    (OLDER[:-1], WHOLE + "expected a storage of 24 numbers"), (OLDER[3:], DAMAGED), (OLDER[:40], DAMAGED),
    (broken(OLDER, (struct.pack("<q", 24), struct.pack("<q", 25))), WHOLE + "expected a storage of 24 numbers"),
    (b"\x80\x02N.\x80\x02N.", WHOLE + "it begins as no file of torch.save"),
    (headed(header=HEADER), FIVE), (headed(header=HEADER, layers="-1"), FIVE), (headed(header=HEADER, layers=[]), FIVE),
    (headed(header="[-1, 2, 5, 0, 20]", layers="1"), FIVE), (headed(header="[0, 2, 5, 1e400, 20]", layers="1"), FIVE),
    (headed(header="[" * 100000, layers="1"), FIVE), (headed(header=torch.ones(2), layers="1"), FIVE),
    (headed(header="[0, 1, 0, 99999999999, 16]", layers="1"), FIVE), (headed(header="{}", layers="1"), FIVE),
    (headed(header=HEADER, layers="9"), "has 9 layers, the network 1: these are of another network"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_hostile_checkpoints(workdir, cli, data, message):
    Path("a.cfg").write_text(CFG)
    Path("a.pt").write_bytes(data)
    code, _, error = cli("convert", "a.cfg", "a.pt", "b.weights")
    assert code == 1 and error.startswith(f"darknet-py: a.pt: {message}") and error.count("\n") == 1
    assert len(error) < 300 and not Path("b.weights").exists()


def many_members():
    file = io.BytesIO(archive(tensor()))
    with zipfile.ZipFile(file, "a") as members:
        for index in range(40):
            members.writestr(f"x/{index}", b"")
    return file.getvalue()


@pytest.mark.parametrize("data, place, bound, message", [
    (archive(b"\x80\x02(" + b"N" * 1000 + b"t."), unpickler, {"MOST_OPCODES": 999}, "of more than 999 opcodes"),
    (archive(b"\x80\x02]q\0(" + b")" * 300 + b"eccollections\nOrderedDict\nh\0\x85R."), unpickler,
     {"MOST_OPCODES": 400}, "a pickle of more than 400 opcodes"),
    (archive(b"N" * 100000, compression=zipfile.ZIP_DEFLATED), torch_file, {"MOST_PICKLE": 99999},
     "expected at most 99999 bytes beside the tensors, found 100000"),
    (many_members(), torch_file, {"MOST_DIRECTORY": 1000}, "a list of members of more than 1000 bytes"),
])
def test_bounds(workdir, monkeypatch, data, place, bound, message):
    for name, value in bound.items():
        monkeypatch.setattr(place, name, value)
    Path("a.pt").write_bytes(data)
    with raises(WeightsError, Reason.TOO_LARGE, message):
        read_tensors("a.pt")


def test_bounds_are_far_above_what_networks_need():
    """The largest, yolov4-p7, has some 1,300 tensors; training programs keep three copies."""
    pickle = zipfile.ZipFile(io.BytesIO(saved({f"models.{index}.weight": NUMBERS for index in range(4000)})))
    assert len(pickle.read("archive/data.pkl")) * 4 < torch_file.MOST_PICKLE


def test_decompression_is_bounded(workdir):
    Path("a.pt").write_bytes(archive(tensor(shape=(1 << 20,), stride=(1,), count=1 << 20), bytes(1 << 22),
                                     zipfile.ZIP_DEFLATED))
    stored = read_tensors("a.pt").named["a.weight"]
    with raises(WeightsError, Reason.TOO_LARGE, "a.pt: .*its tensors have more than 8 times the bytes of the file"):
        stored.to(torch.float32)


def test_damage_within_compressed_tensors(workdir, cli):
    """It is found when they are read, and the network is not changed then."""
    Path("a.cfg").write_text(CFG)
    data = again(saved({"layers.0.weight": torch.rand(2, 3, 1, 1), "layers.0.bias": torch.ones(2)}))
    start = data.index(b"/data/0") + 7
    Path("a.pt").write_bytes(data[:start] + b"\xff" * 8 + data[start + 8:])
    code, _, error = cli("convert", "a.cfg", "a.pt", "b.weights")
    assert code == 1 and error.startswith(f"darknet-py: a.pt: {WHOLE}") and error.count("\n") == 1


@pytest.mark.parametrize("keys", [
    b"".join(b"\x8a\x14" + ((2 ** 61 - 1) * index + 5).to_bytes(20, "little") + b"N" for index in range(1, 20000)),
    b")q\0N" + b"h\0\x85N" * 20000], ids=["of one hash", "nested"])
def test_keys_that_are_slow_to_compare(workdir, keys):
    Path("a.pt").write_bytes(archive(DICT + b"(" + keys + b"u."))
    with raises(WeightsError, Reason.WRONG_FORMAT, "found dict"):
        read_tensors("a.pt")


@pytest.mark.parametrize("start, metadata, message", [
    (b"", None, "not a whole .safetensors file: "), (b"{" * 9, None, "not a whole .safetensors file: a header of"),
    (b"\xff" * 8 + b"{", None, "not a whole .safetensors file: a header of"),
    (b"abc", None, "not a whole .safetensors file: "),
    (struct.pack("<Q", 5024) + b'{"a":{"dtype":"F\\n' + b"x" * 5000 + b'"}}   ', None,
     "not a whole .safetensors file: "),
    *((None, {"header": header, "layers": layers}, FIVE) for header, layers in (
        ("[-1, 2, 5, 0, 20]", "1"), ("[0, 2, 5, 1e400, 20]", "1"), ("[" * 100000, "1"), (HEADER, "1" * 5000),
        (HEADER, "-1"), ("7", "1"), ("[0, 2, 5, 36893488147419103232, 20]", "1"))),
])
def test_hostile_safetensors(workdir, cli, start, metadata, message):
    Path("a.cfg").write_text(CFG)
    save_file({"layers.0.weight": torch.ones(2, 3, 1, 1), "layers.0.bias": torch.ones(2)}, "a.safetensors", metadata)
    if start is not None:
        Path("a.safetensors").write_bytes(start)
    code, _, error = cli("convert", "a.cfg", "a.safetensors", "b.weights")
    assert code == 1 and error.startswith(f"darknet-py: a.safetensors: {message}") and error.count("\n") == 1
    assert len(error) < 300 and not Path("b.weights").exists()
