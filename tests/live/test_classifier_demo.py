"""``classifier demo``: the likeliest classes of the frames of a source."""
import json
import re
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from clips import SIZE, frames, read, video
from conftest import measured_weights

from darknet_py import Classifier, DataError, load_network
from darknet_py.data.image import resize, to_tensor
from darknet_py.live.results import Rates
from darknet_py.live.session import Stopper, detect_frames
from darknet_py.live.sources import Pictures
from darknet_py.viz.draw import draw_lines

CFG = """[net]
width=20
height=16
channels=3

[convolutional]
filters=8
size=3
stride=2
pad=1
activation=leaky

[convolutional]
filters=3
size=1
activation=linear

[avgpool]

[softmax]
groups=1
"""
SHOWN = ("round", "red\\\\n", "square")            # a backslash in a name is printed as two
FRAME = re.compile(r"\rFPS: (\d+\.\d\d)  \(use -benchmark command line flag for correct measurement\)\n(.*?)\n\n", re.S)


@pytest.fixture
def demo(workdir, cli):
    """Run ``classifier demo`` in a folder with clip.avi of four frames, and pics."""
    Path("c.cfg").write_text(CFG)
    Path("c.names").write_text("round\nred\\n\nsquare\n")
    Path("c.data").write_text("classes=3\nnames=c.names\ntop=2\n")
    measured_weights("c.weights", "c.cfg", 11)
    video("clip.avi", frames(4))
    Path("pics").mkdir()
    for number, image in enumerate(frames(4)):
        cv2.imwrite(f"pics/{number}.png", image)
    return partial(cli, "classifier", "demo", "c.data", "c.cfg", "c.weights", "-device", "cpu", "-dont_show")


def expected():
    """The scores of each frame: all of it stretched, as C's demo does, where ``predict`` takes the centre."""
    network = load_network("c.cfg", "c.weights")
    return [network(resize(to_tensor(image), 20, 16)[None])[0].flatten().detach().numpy() for image in frames(4)]


def test_printout_is_that_of_c(demo):
    code, out, err = demo("clip.avi")
    assert (code, err) == (0, "") and out.startswith(
        "Classifier Demo\nvideo file: clip.avi\nVideo stream: 320 x 240 \n")
    found = FRAME.findall(out)
    assert len(found) == 4 and found[0][0] == "0.00" and float(found[1][0]) > 0
    for (_, text), scores in zip(found, expected(), strict=True):
        best = np.argsort(-scores)[:2]
        assert text == "\n".join(f"{100 * scores[k]:.1f}%: {SHOWN[k]}" for k in best)
    assert all(len(text.splitlines()) == 1 for _, text in FRAME.findall(demo("pics", "-t", "1")[1]))
    assert all(len(text.splitlines()) == 3 for _, text in FRAME.findall(demo("pics", "-top", "9")[1]))


def test_consumers_get_the_classes(demo):
    code, out, _ = demo("clip.avi", "-json_file_output", "o.json", "-out_filename", "o.avi", "-codec", "FFV1",
                        "-prefix", "p")
    records = json.loads(Path("o.json").read_text())
    assert code == 0 and len(records) == 4 == len(list(Path().glob("p_*.jpg"))) and "output_video_writer closed." in out
    names = Classifier("c.cfg", "c.weights", "c.names", device="cpu").names
    for record, picture, image, scores in zip(records, read("o.avi")[0], frames(4), expected(), strict=True):
        best = np.argsort(-scores)[:2].tolist()
        assert record["objects"] == [] and [one["class_id"] for one in record["classes"]] == best
        assert [one["probability"] for one in record["classes"]] == pytest.approx(scores[best].tolist(), abs=2e-6)
        assert record["classes"][0]["name"] == names[best[0]]
        drawn = image.copy()
        draw_lines(drawn, [f"{names[k]} {scores[k]:.1%}" for k in best])
        np.testing.assert_array_equal(picture, drawn)
        assert (picture != image).any()
    assert demo("clip.avi", "-dontdraw_bbox", "-out_filename", "o.avi", "-codec", "FFV1")[0] == 0
    np.testing.assert_array_equal(read("o.avi")[0], frames(4))


def test_first_frame_over_and_over(demo):
    for flag in ("-benchmark", "-benchmark_layers"):
        code, out, err = demo("clip.avi", flag, "-time_limit_sec", ".2")
        found = re.findall(r"\rFPS: (\d+\.\d\d) \t AVG_FPS = (\d+\.\d\d) \n", out)
        assert (code, err) == (0, "") and len(found) > 1 and found[0] == ("0.00", "0.00") and "%" not in out.split(
            "Sorted")[0]
        assert ("Sorted by time (forward)" in out) == (flag == "-benchmark_layers")


def test_several_sources_and_broken_pictures(demo):
    Path("pics/2.png").write_bytes(b"")
    code, out, err = demo("clip.avi", "pics")
    assert code == 1 and err.count("\n") == 1 and "pics/2.png: the image file is empty" in err
    assert out.count("Source 0: clip.avi \n\rFPS") == 4 and out.count("Source 1: pics \n\rFPS") == 3


def test_rate_is_that_of_the_network():
    rates = Rates(iter(range(9)).__next__)
    rates.tick(.5)
    assert rates.fps == 2
    rates.tick(.25)
    assert rates.fps == pytest.approx(.9 * 2 + .1 * 4)
    assert rates.average == 0
    rates.tick(.25)
    assert rates.average == 1


def test_in_python(demo):
    classifier = Classifier("c.cfg", "c.weights", crop=False, device="cpu")
    Path("pics/9.png").write_bytes(b"no picture")
    *found, broken = detect_frames(classifier, Pictures("x", [f"pics/{n}.png" for n in (0, 1, 2, 3, 9)]), Stopper())
    assert isinstance(broken, DataError)
    for one, scores, path in zip(found, expected(), "0123", strict=True):
        np.testing.assert_allclose(one.prediction.scores, scores, atol=1e-6)
        assert len(one.detections) == 0 and one.detections.image_size == SIZE[::-1]
        assert one.detections.path == f"pics/{path}.png"
    centre = Classifier("c.cfg", "c.weights", device="cpu")("pics/0.png").scores
    assert np.abs(centre - expected()[0]).max() > 1e-3


@pytest.mark.parametrize("words, says", [
    (["no.mp4"], "no.mp4: no such file"),
    (["clip.avi", "-s", "-1"], "-s needs a number from 0 on"),
    (["clip.avi", "-avgframes", "3"], "classifier demo does not take -avgframes"),
    (["clip.avi", "-http_post_host", "x"], "classifier demo does not take -http_post_host"),
    (["clip.avi", "-out_filename", "clip.avi"], "clip.avi is the source itself"),
])
def test_bad_input_is_one_line(demo, words, says):
    code, _, err = demo(*words)
    assert code == 1 and says in err and err.count("\n") == 1
