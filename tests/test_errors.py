"""Reasons of errors: all are given, all are tested, and they cross from process to process."""
import ast
import pickle
from functools import cache
from pathlib import Path

import pytest

import darknet_py
from darknet_py import CfgError, DataError, Reason, WeightsError
from darknet_py.errors import MOST, DownloadError, cause, one_line, suggestion

PACKAGE = Path(darknet_py.__file__).parent


@cache
def reasons(folder):
    """The members that the files of a folder name; the enum's own file and this one left out."""
    return {node.attr for path in folder.rglob("*.py") if path.name not in ("errors.py", "test_errors.py")
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Reason"}


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_given_and_tested(reason):
    assert reason.name in reasons(PACKAGE) and reason.name in reasons(Path(__file__).parent)


def test_every_reason_says_what_it_means():
    lines = [line for line in (PACKAGE / "errors.py").read_text().splitlines() if "= auto()" in line]
    assert len(lines) == len(Reason) and all(line.partition("# ")[2] for line in lines)


@pytest.mark.parametrize("error, said", [
    (DataError("a: is empty", Reason.EMPTY), "a: is empty"),
    (WeightsError("a: ends early", Reason.TRUNCATED), "a: ends early"),
    (CfgError("no value", Reason.BAD_VALUE, Path("a.cfg"), 3), "a.cfg:3: no value"),
    (CfgError("no value", Reason.BAD_VALUE), "<cfg>: no value"),
])
def test_errors_cross_processes(error, said):
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error) and again.reason is error.reason and vars(again) == vars(error)
    assert str(again) == str(error) == said


@pytest.mark.parametrize("error, reason", [(FileNotFoundError(), Reason.MISSING_FILE),
                                           (PermissionError(), Reason.UNREADABLE),
                                           (NotADirectoryError(), Reason.UNREADABLE)])
def test_reasons_of_the_system(error, reason):
    assert Reason.reading(error) is reason


@pytest.mark.parametrize("word, known, found", [
    ("yolo4", ["yolov3", "yolov4"], "yolov4"), ("YOLOv4-Tiny", ["yolov4", "yolov4-tiny"], "yolov4-tiny"),
    ("onnx", ["openvino", "onnxruntime"], "onnxruntime"), ("on", ["onnxruntime"], None),
    ("zzz", ["yolov4"], None), ("", ["yolov4"], None), ("a", [], None), ("leakey", ["Leaky"], "Leaky")])
def test_suggestion(word, known, found):
    assert suggestion(word, known, "<{}>") == ("" if found is None else f"; did you mean <{found}>?")


@pytest.mark.parametrize("make", [
    lambda text: DataError(text, Reason.EMPTY), lambda text: WeightsError(text, Reason.EMPTY),
    lambda text: CfgError(text, Reason.BAD_VALUE, f"{text}.cfg", 3), DownloadError, darknet_py.DarknetError])
@pytest.mark.parametrize("text", ["a\nb\x1b[2J\x9b\udcff", "x" * 200_000, "\x1b" * 200_000])
def test_messages_are_a_line_of_bounded_length(make, text):
    error = make(text)
    assert str(error).isprintable() and len(str(error)) <= (4 if type(error) is DownloadError else 1) * MOST
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_a_long_line_keeps_its_ends():
    line = one_line(f"a.txt: {'x' * 10_000}: expected a number", 60)
    assert line.startswith("a.txt: xxx") and line.endswith("x: expected a number") and 50 < len(line) <= 60


@pytest.mark.parametrize("error, said", [
    (OSError(28, "No space left on device"), "No space left on device"), (OSError("10 requested and 0 written"),
     "10 requested and 0 written"), (OSError(), "OSError"), (ValueError("odd"), "odd")])
def test_the_cause_of_an_error(error, said):
    assert cause(error) == said
