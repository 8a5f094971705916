"""The metadata of models: what is damaged, missing or hostile in a file of each format gives one line."""
import json
import zipfile
from pathlib import Path

import pytest
from conftest import raises

from darknet_py.cfg import metadata
from darknet_py.cfg.metadata import read_texts, stored_cfg
from darknet_py.errors import CfgError, DataError, Reason

CFG = "[net]\nwidth=8\nheight=8\nchannels=3\n[yolo]\n"
FACTS = {"format": 1, "cfg": CFG, "names": ["a", "é\n\"<&>"], "outputs": {"form": "heads"},
         "input": {"shape": [None, 3, 8, 16]}, "resize": {"kind": "letterbox"},
         "thresholds": {"score": .3, "nms": .5, "chosen": ["score"]}}


def varint(value):
    return bytes([value & 127 | 128]) + varint(value >> 7) if value > 127 else bytes([value])


def field(number, data):
    return varint(number << 3 | 2) + varint(len(data)) + data


def onnx_bytes(texts):
    entries = (field(14, field(1, key.encode()) + field(2, value.encode())) for key, value in texts.items())
    return b"\x08\x08" + field(2, b"darknet_py") + field(7, b"\xff" * 300) + b"\x29" + bytes(8) + b"".join(entries)


def write_model(path, facts, prefix="darknet_py."):
    """A file of the path's format that has these facts and no network."""
    texts = {prefix + key: value if isinstance(value, bytes) else json.dumps(value) for key, value in facts.items()}
    texts = {key: value.decode() if isinstance(value, bytes) else value for key, value in texts.items()}
    match Path(path).suffix:
        case ".onnx":
            Path(path).write_bytes(onnx_bytes(texts))
        case ".xml":
            import xml.etree.ElementTree as ET
            net = ET.Element("net")
            ET.SubElement(ET.SubElement(net, "layer"), "rt_info")
            groups = ET.SubElement(net, "rt_info")
            ET.SubElement(groups, "info", name="OpenVINO Runtime", value="1")
            group = ET.SubElement(groups, prefix.rstrip("."))
            for key, value in texts.items():
                ET.SubElement(group, key.removeprefix(prefix), value=value)
            Path(path).write_bytes(ET.tostring(net, "utf-8"))
        case ".safetensors":
            header = json.dumps({"__metadata__": texts}).encode()
            Path(path).write_bytes(len(header).to_bytes(8, "little") + header)
        case _:
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("archive/data.pkl", b"x")
                for key, value in texts.items():
                    archive.writestr(f"archive/extra/{key}", value)


FILES = ["m.onnx", "m.xml", "m.torchscript", "m.pt2", "m.safetensors"]


@pytest.mark.parametrize("path", FILES)
def test_what_is_read(path, workdir):
    write_model(path, FACTS)
    cfg = stored_cfg(path)
    assert cfg.text == CFG and cfg.path == Path(path) and cfg.sections[0].kind == "net"
    assert cfg.stored == metadata.Stored({}, 16, 8, 1, FACTS["names"], .3, None, "heads", None)
    assert cfg.with_value(0, "width", 9).stored == cfg.stored._replace(width=None)


@pytest.mark.parametrize("path", FILES)
def test_a_file_of_another_program(path, workdir):
    write_model(path, FACTS, prefix="other.")
    with raises(DataError, Reason.MISSING_KEY, rf"^{path}: lacks darknet_py.cfg in its metadata, so it does not run "
                rf"alone: make it with darknet-py convert CFG WEIGHTS {path}, or give its CFG before it$"):
        stored_cfg(path)


@pytest.mark.parametrize("path", FILES)
def test_a_file_that_ends_early(path, workdir):
    """Wherever it is cut: a cfg, or one line."""
    write_model(path, FACTS)
    data, seen = Path(path).read_bytes(), set()
    for end in range(0, len(data), 7):
        Path(path).write_bytes(data[:end])
        try:
            stored_cfg(path)
        except DataError as error:
            seen.add(error.reason)
            assert "\n" not in str(error)
    assert Reason.CORRUPT in seen


@pytest.mark.parametrize("key, value, reason", [
    ("format", 2, Reason.UNSUPPORTED), ("format", True, Reason.CORRUPT), ("format", b"{", Reason.CORRUPT),
    ("cfg", 5, Reason.CORRUPT), ("names", ["a", 5], Reason.CORRUPT), ("names", "ab", Reason.CORRUPT),
    ("input", {"shape": [None, 3, 0, 8]}, Reason.CORRUPT), ("input", {"shape": [1.5, 3, 8, 8]}, Reason.CORRUPT),
    ("input", {}, Reason.CORRUPT), ("input", b"[" * 100_000, Reason.CORRUPT),
    ("outputs", {"form": "other"}, Reason.CORRUPT), ("resize", [], Reason.CORRUPT), ("files", {"a": 5}, Reason.CORRUPT),
    ("thresholds", {"chosen": ["score"], "score": 2}, Reason.CORRUPT), ("thresholds", {}, Reason.CORRUPT),
    ("thresholds", {"chosen": ["hier"], "hier": .5}, Reason.CORRUPT)])
def test_damaged_values(key, value, reason, workdir):
    write_model("m.onnx", FACTS | {key: value})
    says = rf"^m.onnx: its metadata is (damaged: darknet_py\.{key} says |of format 2, expected 1)"
    with raises(DataError, reason, says):
        stored_cfg("m.onnx")


def test_missing_values(workdir):
    write_model("m.onnx", {key: value for key, value in FACTS.items() if key not in ("names", "thresholds")})
    stored = stored_cfg("m.onnx").stored
    assert (stored.names, stored.thresh, stored.nms) == (None, None, None)
    write_model("m.onnx", {key: value for key, value in FACTS.items() if key != "input"})
    with raises(DataError, Reason.CORRUPT, "darknet_py.input"):
        stored_cfg("m.onnx")


def test_a_mistake_in_the_cfg_is_where_it_stands(workdir):
    write_model("m.onnx", FACTS | {"cfg": "[net]\nwidth\n"})
    with raises(CfgError, Reason.SYNTAX, "^m.onnx:2: "):
        stored_cfg("m.onnx")


@pytest.mark.parametrize("path, data", [
    ("m.onnx", b"\x72\xff\xff\xff\xff\x7f"), ("m.onnx", b"\xff" * 20), ("m.onnx", b"\x0b"), ("m.onnx", b"\x08"),
    ("m.onnx", b"\x08\x01" * (metadata.MOST_FIELDS + 1)), ("m.onnx", field(14, field(1, b"\xff") + field(2, b"a"))),
    ("m.onnx", field(14, b"\x12\xff\x01")), ("m.xml", b"<net>"), ("m.xml", b"<rt_info><a &b;/></rt_info></net>"),
    ("m.pt2", b"PK"), ("m.safetensors", b"\xff" * 8), ("m.safetensors", b"\x02" + bytes(7) + b"[]"),
    ("m.safetensors", b"\0\0\x10" + bytes(5) + b"[" * (1 << 20)),
    ("m.safetensors", b"\x14" + bytes(7) + b'{"__metadata__":"a"}')])
def test_hostile_files(path, data, workdir):
    Path(path).write_bytes(data)
    with raises(DataError, Reason.CORRUPT, f"^{path}: not a whole {Path(path).suffix} file: "):
        read_texts(path)


def test_a_text_that_is_too_large(workdir, monkeypatch):
    for path in FILES:
        if not path.endswith(".xml"):       # of which the end alone is read
            write_model(path, FACTS | {"names": ["a" * 5000]})
    monkeypatch.setattr(metadata, "MOST_TEXT", 3000)
    for path in FILES:
        if not path.endswith(".xml"):
            with raises(DataError, Reason.CORRUPT, f"^{path}: not a whole .* file: a text of "):
                read_texts(path)


@pytest.mark.parametrize("path", FILES)
def test_a_file_that_is_missing(path, workdir):
    with raises(DataError, Reason.MISSING_FILE, f"^{path}: cannot read the model: "):
        stored_cfg(path)
