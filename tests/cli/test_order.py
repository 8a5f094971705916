"""Words of a verb in another order than its own, or without one of them."""
import pytest

from darknet_py.cli import VERBS, parser_of
from darknet_py.cli.order import check_order
from darknet_py.errors import DarknetError


def parsed(words):
    verb, *rest = words.split()
    parser = parser_of(verb)
    return parser.parse_intermixed_args(rest), parser


@pytest.mark.parametrize("words, expected, better", [
    ("train a.cfg o.data", "DATA CFG [WEIGHTS]", "train o.data a.cfg"),
    ("train a.cfg o.data b.conv.29", "DATA CFG [WEIGHTS]", "train o.data a.cfg b.conv.29"),
    ("train o.data w.weights a.cfg", "DATA CFG [WEIGHTS]", "train o.data a.cfg w.weights"),
    ("tune a.cfg o.data", "DATA CFG [WEIGHTS]", "tune o.data a.cfg"),
    ("evaluate a.cfg w.weights o.data", "DATA CFG WEIGHTS", "evaluate o.data a.cfg w.weights"),
    ("detect w.weights a.cfg d.jpg", "CFG WEIGHTS IMAGE...", "detect a.cfg w.weights d.jpg"),
    ("detect d.jpg a.cfg w.weights", "CFG WEIGHTS IMAGE...", "detect a.cfg w.weights d.jpg"),
    ("detect yolov4 d.jpg w.weights", "CFG WEIGHTS IMAGE...", "detect yolov4 w.weights d.jpg"),
    ("demo w.WEIGHTS a.cfg v.mp4 w.avi", "CFG WEIGHTS SOURCE...", "demo a.cfg w.WEIGHTS v.mp4 w.avi"),
    ("detector test a.cfg o.data w.weights d.jpg", "DATA CFG WEIGHTS [IMAGE]...", "detector test o.data a.cfg w.we"),
    ("classifier predict w.weights a.cfg o.data", "DATA CFG WEIGHTS [IMAGE]...", "classifier predict o.data a.cfg w"),
    ("rnn valid w.weights a.cfg", "CFG WEIGHTS < TEXT", "rnn valid a.cfg w.weights"),
    ("convert w.weights a.cfg out.onnx", "CFG WEIGHTS OUT", "convert a.cfg w.weights out.onnx"),
    ("convert out.onnx a.cfg w.weights", "CFG WEIGHTS OUT", "convert a.cfg w.weights out.onnx"),
    ("rgbgr w.weights a.cfg x.weights", "CFG WEIGHTS OUT", "rgbgr a.cfg w.weights x.weights"),
    ("train digits o.data", "DATA CFG [WEIGHTS]", "train o.data digits"),
    ("detector map digits o.data w.weights", "DATA CFG WEIGHTS", "detector map o.data digits w.weights"),
    ("info w.weights a.cfg", "CFG [WEIGHTS]", "info a.cfg w.weights"),
    ("profile w.weights a.cfg", "CFG [WEIGHTS]", "profile a.cfg w.weights"),
    ("nightmare w.weights a.cfg d.jpg 3", "CFG WEIGHTS IMAGE LAYER", "nightmare a.cfg w.weights d.jpg 3"),
])
def test_the_right_order_is_said(words, expected, better):
    with pytest.raises(DarknetError) as found:
        check_order(*parsed(words))
    assert f": expected {expected}, found " in str(found.value)
    assert f"; did you mean darknet-py {better}" in str(found.value)


@pytest.mark.parametrize("words, message", [
    ("detect a.cfg d.jpg", "detect: expected CFG WEIGHTS IMAGE..., found a picture or video in the place of WEIGHTS: "
                           "a.cfg d.jpg; there is no WEIGHTS"),
    ("detector test o.data a.cfg d.jpg", "detector test: expected DATA CFG WEIGHTS [IMAGE]..., found a picture or "
                                         "video in the place of WEIGHTS: o.data a.cfg d.jpg; there is no WEIGHTS"),
    ("train a.cfg w.weights", "train: expected DATA CFG [WEIGHTS], found a .cfg file in the place of DATA: a.cfg "
                              "w.weights; there is no DATA"),
    ("detect o.data a.cfg w.weights d.jpg", "found a .data file in the place of CFG: o.data a.cfg w.weights d.jpg; "
                                            "detector test takes a .data file before these"),
    ("classifier predict darknet19 w.weights d.jpg", "found a network of the zoo in the place of DATA: darknet19 "
                                                     "w.weights d.jpg; there is no DATA"),
    ("detector test digits d.jpg", "found a network of the zoo in the place of DATA: digits d.jpg; there is no DATA"),
    ("info w.weights", "info: expected CFG [WEIGHTS], found weights in the place of CFG: w.weights; there is no CFG"),
    ("detect yolo4 d.jpg", "yolo4 d.jpg; yolo4 is no file and no network of the zoo; did you mean yolov4?"),
    ("detect yolov4.cfg d.jpg", "d.jpg; yolov4.cfg is no file and no network of the zoo; did you mean yolov4?"),
    ("convert a.cfg w.weights b.cfg", "found a .cfg file in the place of OUT: a.cfg w.weights b.cfg; there is no OUT"),
])
def test_what_is_missing_is_said(words, message):
    with pytest.raises(DarknetError) as found:
        check_order(*parsed(words))
    assert str(found.value).endswith(message)


@pytest.mark.parametrize("words", [
    "detect yolov4 d.jpg", "detect a.cfg w.weights d.jpg folder list.txt", "detect model.onnx d.jpg",
    "detect my.cfg int8.xml d.jpg", "detect a b c", "demo a.cfg w.weights 0 v.mp4", "train folder a.cfg",
    "train set.json a.cfg b.conv.137", "train book.txt a.cfg b.81", "rescale a.cfg w.weights x.weights",
    "average a.cfg out.weights a.weights b.weights", "convert a.cfg w.safetensors out.weights",
    "edit a.cfg net.width=4.jpg", "rnn train a.cfg",
    "visualize a.cfg w.weights filters.png", "detector calc_anchors o.data", "detector calc_anchors o.data a.cfg",
    "nightmare a.cfg w.weights d.jpg 3", "oneoff a.cfg w.weights x.weights 4", "new yolov4", "benchmark",
    "serve yolov4"])
def test_words_in_their_order_pass(words):
    check_order(*parsed(words))


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in ("zoo",)])
def test_every_verb_says_what_it_takes(verb):
    parser = parser_of(verb)
    assert all(parser.order(action) for action in parser.actions() or [None])
    for action in parser.actions():
        assert "CFG" in parser.order(action) and "|" not in parser.order(action)
