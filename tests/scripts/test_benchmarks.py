"""benchmark.py engines and pipeline: what runs networks, side by side."""
import argparse
import json
import sys
from pathlib import Path

import benchmark
import cv2
import pytest
from benchmarks import engines, pipeline, video
from benchmarks.common import PREDICTED, named_cfg, words_of

from darknet_py import load_network
from darknet_py.zoo.architectures import cfg_text

OWN = "ONNX Runtime's own API"


def program(text):
    path = Path("darknet")
    path.write_text(f"#!/bin/sh\n{text}")
    path.chmod(0o755)
    return path


def test_engines(tiny, capsys):
    """A row for each engine, with figures or the reason why not, in JSON and in the table."""
    program('test "$1 $2" = "detector test" -a -f "$3" -a -f "$4" -a -f "$5" || exit 3\n'
            'echo "dog.jpg: Predicted in 1500.000000 milli-seconds."\n')
    words = ["--cfgs", "tiny.cfg", "--sizes", "64", "--rounds", "1", "--darknet", "darknet", "--json", "all.json"]
    assert benchmark.main(["engines", *words, "--only", f"{OWN},darknet_py tensorrt,OpenCV"]) == 0
    facts = json.loads(Path("all.json").read_text())
    assert facts["cpu"] and facts["cores"] >= 1 and facts["command"].startswith("python scripts/benchmark.py ")
    own, c = facts["rows"]
    flops = sum(layer.flops for layer in load_network("tiny.cfg", width=64, height=64).layers)
    assert [own[key] for key in ("network", "size", "batch", "engine", "precision")] == ["tiny", 64, 1, OWN, "float32"]
    assert 0 < own["least"] <= own["median"] <= own["most"] and own["load_seconds"] > 0 and own["memory_bytes"] > 0
    assert own["to_opencv"] is None and own["flops_per_second"] == pytest.approx(flops / own["median"])
    assert (c["engine"], c["median"], c["runs"]) == ("C Darknet", 1.5, 1)
    assert c["share_of_product"] == pytest.approx(flops / 1.5 / own["product_flops_per_second"])
    *_, first, second, _, rates = capsys.readouterr().out.splitlines()
    assert first.startswith(f"| tiny | 64 | 1 | {OWN} ")
    assert second.startswith("| tiny | 64 | 1 | C Darknet | float32 | 1500.0 ")
    assert "2048 x 2048 float32" in rates


def test_c_that_tells_nothing(tiny):
    cell = engines.Cell("tiny", 64, 1, "tiny.cfg", "tiny.weights", None, None, 1)
    assert engines.seconds_of_c(program("exit 3"), cell, Path()) == {"reason": "ended with 3 and told no time"}
    assert engines.seconds_of_c(Path("darknet"), cell._replace(batch=8), Path()) == {
        "reason": "runs one image at a time"}


def test_ratios():
    def row(engine, precision, median, own=None):
        times = {} if median is None else {"median": median, "least": median, "most": median, "memory_bytes": 2_000_000}
        return {"network": "n", "size": 416, "batch": 8, "engine": engine, "precision": precision, "own": own,
                **(times if times else {"reason": "cannot"})}

    rows = engines.with_ratios([
        row("darknet_py openvino", "float32", .5, "OpenVINO"), row("darknet_py openvino", "bfloat16", .25, "OpenVINO"),
        row("darknet_py tensorrt", "float32", None), row("OpenVINO", "float32", .4), row("OpenCV", "float32", 2.)],
        flops=10 ** 9, rate=8e9)
    found = [(one.get("to_opencv"), one.get("to_own_api"), one.get("share_of_product")) for one in rows]
    assert found == [(.25, 1.25, .25), (.125, None, .5), (None, None, None), (.2, None, .3125), (1., None, .0625)]
    assert rows[0]["images_per_second"] == 16
    lines, first = list(engines.markdown(rows, "command", "here")), "| n | 416 | 8 | darknet_py openvino | float32 |"
    assert f"{first} 500.0 (500.0 to 500.0) | 16.00 | 0.25 | 1.25 | 25% | 2 |" in lines
    assert "| n | 416 | 8 | darknet_py tensorrt | float32 | cannot |  |  |  |  |  |" in lines
    assert lines[-1].endswith(" table: 8 GFLOP/s.")


def test_networks_by_name_and_path(tiny, monkeypatch):
    assert named_cfg("tiny.cfg").text == Path("tiny.cfg").read_text()
    monkeypatch.setattr("benchmarks.common.SHARED", tiny)
    assert named_cfg("yolov3-tiny").text == cfg_text("yolov3-tiny")
    assert words_of("a, b,") == ["a", "b"]
    with pytest.raises(argparse.ArgumentTypeError):
        words_of(",")


def test_a_picture_in_the_pipeline(tiny, capsys):
    """Detector beside the network alone, on JPEG files that are copies of given pictures."""
    picture = Path("train.txt").read_text().split()[0]
    assert benchmark.main(["pipeline", "--cfgs", "tiny.cfg", "--parts", "picture", "--pictures", picture, "--runs", "1",
                           "--backend", "pytorch", "--json", "p.json"]) == 0
    result, = json.loads(Path("p.json").read_text())["results"]
    assert result["backend"] == "pytorch" and result["seconds"] > 0 and result["found"] >= 0
    assert result["ratio"] == pytest.approx(result["seconds"] / result["network_seconds"])
    assert "- tiny: one JPEG, 4 calls of Detector: " in capsys.readouterr().out


def test_rate_of_a_folder():
    line = "print('a.jpg: Predicted in 1.0 milli-seconds.', flush=True)"
    code = f"import time\nfor _ in range(5): {line}; time.sleep(.02)"
    assert 0 < pipeline.rate_of([sys.executable, "-c", code], PREDICTED, {}) <= 50
    with pytest.raises(SystemExit, match="ended with 1: out of luck"):
        pipeline.rate_of([sys.executable, "-c", "import sys; sys.exit('out of luck')"], PREDICTED, {})


@pytest.mark.parametrize("number", [0, 1, 12345, (1 << video.BITS) - 1])
def test_a_frame_carries_its_number(number):
    frame, = video.views(pipeline.PICTURES[0], 1)
    data = cv2.imencode(".jpg", video.numbered(frame, number), [cv2.IMWRITE_JPEG_QUALITY, 40])[1]
    image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    image[::5] = 255 if number == 1 else 0                  # boxes
    assert video.number_of(image) == number and frame.shape == (480, 640, 3)
    image[-20:, 70:100] = 255                               # a label over a bit and its neighbour
    assert video.number_of(image) in (number, None)


def test_a_stream(tiny):
    """demo on the stream of the benchmark, which reads demo's."""
    words = ["--stream-cfg", "tiny.cfg", "--frames", "8", "--backend", "pytorch", "--json", "v.json"]
    assert benchmark.main(["video", "--parts", "stream", "--seconds", "1", *words]) == 0
    result, = json.loads(Path("v.json").read_text())["results"]
    assert result["frames"] > 3 and 0 < result["latency_median"] <= result["latency_p99"] < 5
    assert result["memory_end"] > 10 ** 7


@pytest.mark.parametrize("words, message", [
    (["video", "--parts", "sound"], "--parts: expected some of file, stream, found sound"),
    (["video", "--frames", "1"], "--seconds needs at least 1, --frames at least 2"),
    (["engines", "--only", "nothing"], "--only names no engine"),
    (["engines", "--rounds", "0"], "--rounds needs a number from 1 on, found 0"),
    (["pipeline", "--parts", "sound"], "--parts: expected some of picture, folder, start, memory, found sound"),
    (["pipeline", "--count", "1"], "--count needs a number from 2 on, found 1"),
])
def test_what_is_refused(words, message):
    with pytest.raises(SystemExit, match=message):
        benchmark.main(words)


@pytest.mark.parametrize("words", [["engines", "--sizes", "0"], ["engines", "--batches", "two"],
                                   ["engines", "--darknet", "nowhere"], ["pipeline", "--runs", "0"]])
def test_arguments_that_are_refused(words, capsys):
    with pytest.raises(SystemExit):
        benchmark.main(words)
    assert "error: " in capsys.readouterr().err
