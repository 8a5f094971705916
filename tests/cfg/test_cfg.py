"""The cfg language: text to sections and entries, messages with file and line, and back to the same bytes."""
from __future__ import annotations

import time
import warnings

import pytest
import torch
from conftest import SHARED, raises

from darknet_py.cfg.language import MAX_BYTES, Cfg, parse_cfg, read_cfg
from darknet_py.errors import CfgError, CfgWarning, Reason
from darknet_py.model.network import Network

ORIGINALS = SHARED / "reference/cfg"


def sections(cfg: Cfg) -> list[tuple[str, dict[str, str]]]:
    return [(section.kind, {key: entry.value for key, entry in section.first.items()}) for section in cfg.sections]


PLAIN = [("net", {"width": "4"}), ("route", {"layers": "-1,-2"})]


@pytest.mark.parametrize("text", [
    "[net]\nwidth=4\n[route]\nlayers=-1,-2\n",
    "[net]\r\nwidth=4\r\n[route]\r\nlayers=-1,-2\r\n",
    "[net]\nwidth=4\n\n\n[route]\n \t \nlayers=-1,-2",                         # no newline at the end
    "\n\n[net]\nwidth=4\n[route]\nlayers=-1,-2\n   ",                           # white space at the end
    "[net]\nwidth=4\n[route]\nlayers=-1,-2\n# the end",
    "# a\n; b\n  # c\n[net]\n# d=5\n;[e]\nwidth=4\n[route]\nlayers=-1,-2\n",
    "\ufeff[net]\nwidth=4\n[route]\nlayers=-1,-2\n",
    "[ net ]\n  width  = 4  \n\t[route]\t\nlayers\t=\t-1 ,\t-2\t\n",
    "[net] # the input\nwidth=4 # pixels\n[route] ; two\nlayers = -1,-2 ###P6\n",
    "[net]\nwidth=4;5\n[route]\nlayers=-1,-2#\n",
    "[net]\nwi dth=4\n[route]\nlayers=- 1,-2\n",                                # C drops white space everywhere
    "[net]\n# \xe9\u4e2d\nwidth=4\n[route]\n# \udcff\nlayers=-1,-2\n",
    "[net]\x0b\nwidth=4\x0c\n[route]\nlayers=-1,\x0c-2\n",
])
def test_parse(text):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert sections(parse_cfg(text)) == PLAIN


@pytest.mark.filterwarnings("ignore::darknet_py.errors.CfgWarning")
def test_entries_know_their_place():
    cfg = parse_cfg("\ufeff# top\n[net]\n\twidth\t= 4 \t# px\r\n\n[route]\n  layers =  -1 , -2;x\nlayers=-3\n")
    first, (second, third) = cfg.sections[0].first["width"], cfg.sections[1].entries
    assert [section.line for section in cfg.sections] == [2, 5]
    assert [(e.line, e.value, cfg.text[e.start:e.end]) for e in (first, second, third)] == [
        (3, "4", "4"), (6, "-1,-2", "-1 , -2"), (7, "-3", "-3")]


@pytest.mark.parametrize("text, reason, message", [
    ("", Reason.EMPTY, "x.cfg: expected a [net] section, found no sections at all"),
    ("# nothing\n\n", Reason.EMPTY, "x.cfg: expected a [net] section, found no sections at all"),
    ("\nwidth=4\n[net]\n", Reason.SYNTAX, "x.cfg:2: expected [net] before any option, found 'width'="),
    ("[convolutional]\n", Reason.SYNTAX, "x.cfg:1: expected [net] as the first section, found [convolutional]"),
    ("[net]\nwidth\n", Reason.SYNTAX, "x.cfg:2: expected [section], key=value or a # comment, found 'width'"),
    ("[net]\nwidth 4\n", Reason.SYNTAX, "x.cfg:2: expected [section], key=value or a # comment, found 'width 4'"),
    ("[net]\n\n=4\n", Reason.SYNTAX, "x.cfg:3: expected [section], key=value or a # comment, found '=4'"),
    ("[net\nwidth=4\n", Reason.SYNTAX, "x.cfg:1: expected [section], key=value or a # comment, found '[net'"),
    ("[net] width=4\n", Reason.SYNTAX, "x.cfg:1: expected nothing after [net], found 'width=4'"),
    ("[net]\n\t\t\tx\n", Reason.SYNTAX, "x.cfg:2: expected [section], key=value or a # comment, found 'x'"),
    ("[net]\n" + "x" * 99, Reason.SYNTAX,
     "x.cfg:2: expected [section], key=value or a # comment, found '" + "x" * 40 + "...'"),
    ("[net]\n\x1b[2J\udcff\n", Reason.SYNTAX,
     r"x.cfg:2: expected [section], key=value or a # comment, found '\x1b[2J\udcff'"),
    ("[\x1b]\n", Reason.SYNTAX, r"x.cfg:1: expected [net] as the first section, found [\x1b]"),
])
def test_what_is_no_cfg(text, reason, message):
    with raises(CfgError, reason) as caught:
        parse_cfg(text, "x.cfg")
    assert str(caught.value) == message


@pytest.mark.parametrize("text, message", [
    ("[net]\nwidth=4\nwidth=5\n", "x.cfg:3: width= stands twice in this [net]; the first one counts"),
    ("[net]\nwidth=4\nheight= # 5\n", "x.cfg:3: height= has no value and is passed over"),
])
def test_what_c_tolerates(text, message):
    with pytest.warns(CfgWarning) as caught:
        cfg = parse_cfg(text, "x.cfg")
    assert [str(warning.message) for warning in caught] == [message]
    assert sections(cfg) == [("net", {"width": "4"})]
    with raises(CfgError, Reason.TOLERATED) as error:
        parse_cfg(text, "x.cfg", strict=True)
    assert str(error.value) == message


def test_long_lines_take_no_longer():
    gap = " " * 300_000
    for text in (f"[net]\na=b{gap}c\n", f"[net]\n{gap}x=1\n", f"[net]{gap}#", f"[net]\n{gap}"):
        assert len(parse_cfg(text).sections) == 1


@pytest.mark.parametrize("content, reason, message", [
    (None, Reason.MISSING_FILE, "cannot read the cfg file: No such file or directory"),
    (b"[net]\0", Reason.WRONG_FORMAT, "expected a cfg text file, found binary data (is the order CFG WEIGHTS?)"),
    (b"#" * (MAX_BYTES + 1), Reason.TOO_LARGE, f"expected a cfg of at most {MAX_BYTES} bytes, found more"),
])
def test_unreadable_files(content, reason, message, tmp_path):
    path = tmp_path / "x.cfg"
    if content is not None:
        path.write_bytes(content)
    with raises(CfgError, reason) as caught:
        read_cfg(path)
    assert str(caught.value) == f"{path}: {message}"


def test_folder_as_cfg(tmp_path):
    with raises(CfgError, Reason.UNREADABLE):
        read_cfg(tmp_path)


BYTES = [
    b"[net]\nwidth=4",
    b"\xef\xbb\xbf[net]\r\nwidth = 4 # \xff\xfe\r\n\r\n[route]\r\n\tlayers =\t-1 ; \xc3\xa9\r\n",
    b"[net]\n\n  width=4\n\twidth=5\nheight=\n[a]\n[b]\n# end",
]


@pytest.mark.parametrize("data", BYTES)
@pytest.mark.filterwarnings("ignore::darknet_py.errors.CfgWarning")
def test_round_trip(data, tmp_path):
    before, after = tmp_path / "a.cfg", tmp_path / "b.cfg"
    before.write_bytes(data)
    cfg = read_cfg(before)
    cfg.write(after)
    again = read_cfg(after)
    assert after.read_bytes() == data
    assert (again.text, again.sections) == (cfg.text, cfg.sections)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.cfg", "b.cfg"]


@pytest.mark.parametrize("target", ["missing/x.cfg", "file/x.cfg", "folder"])
def test_failed_write(target, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    with raises(CfgError, Reason.UNWRITABLE):
        parse_cfg("[net]").write(tmp_path / target)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.parametrize("text, section, key, value, expected", [
    ("[net]\n\twidth\t= 4 # px\nheight=5\n", 0, "width", 608, "[net]\n\twidth\t= 608 # px\nheight=5\n"),
    ("\ufeff[net]\r\nwidth=4\r\n", 0, "width", 608, "\ufeff[net]\r\nwidth=608\r\n"),
    ("[net]\nwidth=4\n\n[yolo]\n", 0, "height", 5, "[net]\nwidth=4\nheight=5\n\n[yolo]\n"),
    ("[net]\r\nwidth=4\r\n[yolo]\r\n", 0, "height", 5, "[net]\r\nwidth=4\r\nheight=5\r\n[yolo]\r\n"),
    ("[net]\nwidth=4", 0, "height", 5, "[net]\nwidth=4\nheight=5\n"),
    ("[net]\n# \u2028 \x0c \r x\n[yolo]", 1, "classes", 3, "[net]\n# \u2028 \x0c \r x\n[yolo]\nclasses=3\n"),
    ("[net]\nw=1\nw=2\n", 0, "w", 3, "[net]\nw=3\nw=2\n"),
    ("[net]\nanchors = 1, 2, 3 # old\n", 0, "anchors", "4,5", "[net]\nanchors = 4,5 # old\n"),
])
@pytest.mark.filterwarnings("ignore::darknet_py.errors.CfgWarning")
def test_with_value(text, section, key, value, expected):
    cfg = parse_cfg(text, "x.cfg")
    changed = cfg.with_value(section, key, value)
    assert changed.text == expected
    assert changed.sections[section].first[key].value == str(value)
    assert (cfg.text, changed.path) == (text, cfg.path)


@pytest.mark.parametrize("text", ["[net]\na=1 # one\nb=2\n[conv]\n\n[yolo]\nb=3",
                                  "[net]\r\nb=2\r\na=1\r\n[x]\r\n[x]\r\n"])
def test_with_values_is_with_value_for_each(text):
    values = {(2, "b"): "long, long", (0, "b"): 1, (0, "new"): 5, (1, "first"): 6, (0, "a"): 77}
    changed = one_by_one = parse_cfg(text)
    for place, value in values.items():
        one_by_one = one_by_one.with_value(*place, value)
    assert changed.with_values(values).text == one_by_one.text


def test_values_of_many_sections_in_one_go():
    """Ten thousand sections take as long as their text, not as long as its square."""
    cfg = parse_cfg("[net]\n" + "[maxpool]\nsize=2\n" * 10_000)
    begin = time.process_time()
    changed = cfg.with_values({(section, "stride"): section for section in range(1, 10_001)})
    assert time.process_time() - begin < 3
    assert [changed.sections[at].first["stride"].value for at in (1, 10_000)] == ["1", "10000"]


# Each of them read in the file, and compared with the keys that parser.c looks up.
ORIGINAL_WARNINGS = [
    "Gaussian_yolov3_BDD.cfg:24: [net] has no option max_epochs=",
    "cspx-p7-mish.cfg:2583: [yolo] mask= names anchor 19, num=16 counts fewer; it is taken from anchors=",
    *(f"cspx-p7-mish_hp.cfg:{line}: [yolo] anchors= has 31 values, expected 32 for num=16; the others are .5"
      for line in (2351, 2417, 2482, 2547, 2612)),     # `61,45    61,45` is one number to C: 4561
    "efficientnet-lite3.cfg:33: momentum= stands twice in this [net]; the first one counts",
    "efficientnet-lite3.cfg:34: decay= stands twice in this [net]; the first one counts",
    "efficientnet_b0.cfg:25: momentum= stands twice in this [net]; the first one counts",
    "efficientnet_b0.cfg:26: decay= stands twice in this [net]; the first one counts",
    "writing.cfg:10: [net] has no option seen=",
    "yolo9000.cfg:8: batch= stands twice in this [net]; the first one counts",
    "yolo9000.cfg:9: subdivisions= stands twice in this [net]; the first one counts",
    "yolov3-openimages.cfg:6: batch= stands twice in this [net]; the first one counts",
    "yolov3-openimages.cfg:7: subdivisions= stands twice in this [net]; the first one counts",
    *(f"yolov4-sam-mish-csp-reorg-bfm.cfg:{line}: [yolo] has no option {what}" for line, what in [
        (1156, "uc_normalizer=; did you mean iou_normalizer=?"), (1160, "beta1="),
        (1290, "uc_normalizer=; did you mean iou_normalizer=?"), (1294, "beta1="),
        (1424, "uc_normalizer=; did you mean iou_normalizer=?"), (1428, "beta1=")]),
]


@pytest.mark.needs_shared("reference/cfg")
def test_every_original_builds_with_right_warnings():
    paths = sorted(ORIGINALS.rglob("*.cfg"))
    assert len(paths) == 95
    with warnings.catch_warnings(record=True) as caught, torch.device("meta"):
        warnings.simplefilter("always")
        for path in paths:
            Network(read_cfg(path))
    found = [str(warning.message).removeprefix(f"{ORIGINALS}/") for warning in caught]
    assert sorted(found) == sorted(ORIGINAL_WARNINGS)


@pytest.mark.needs_shared("reference/cfg")
@pytest.mark.filterwarnings("ignore::darknet_py.errors.CfgWarning")
def test_originals_round_trip(tmp_path):
    for path in sorted(ORIGINALS.rglob("*.cfg"))[::4]:
        cfg = read_cfg(path)
        cfg.write(tmp_path / "x.cfg")
        assert (tmp_path / "x.cfg").read_bytes() == path.read_bytes()
        wider = cfg.with_value(0, "width", 12345)
        assert wider.sections[0].first["width"].value == "12345"
        assert len(wider.sections) == len(cfg.sections)
