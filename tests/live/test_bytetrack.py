"""ByteTrack as a step, and what it needs of the detector."""
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from clips import CFG, SIZE, WEIGHTS, frames, small_network, video
from tracked import result

from darknet_py.errors import DarknetError
from darknet_py.live.tracking import TrackByByteTrack


def boxes_at(*corners, side=20):
    return [[x, y, x + side, y + side] for x, y in corners]


@pytest.fixture
def step():
    pytest.importorskip("trackers")
    return TrackByByteTrack(.5, 10, False)


def ids_of(step, *rows):
    """The ids of the boxes of each frame, given as (boxes, labels, scores)."""
    found = []
    for number, row in enumerate(rows, 1):
        one = result(number, *row)
        step(one)
        found.append(one.detections.ids.tolist())
    return found


def test_objects_that_cross_and_vanish_keep_their_ids(step):
    rows = []
    for frame in range(40):
        corners = [(4 * frame, 4 * frame), (160 - 4 * frame, 4 * frame + 30)]       # nearest in frame 20
        corners += [(300, 300)] if not 10 <= frame < 15 else []                     # away for half a second
        corners += [(300, 0)] if not 10 <= frame < 25 else []                       # for one and a half
        rows.append((boxes_at(*corners),))
    found = ids_of(step, *rows)
    assert found[0] == [0, 0, 0, 0] and found[1] == found[9] == [1, 2, 3, 4]        # the first frame is not enough
    assert found[10] == [1, 2] and found[15] == [1, 2, 3]
    assert found[25] == [1, 2, 3, 0] and all(one == [1, 2, 3, 5] for one in found[26:])


def test_uncertain_boxes_keep_an_object_alive_and_are_not_reported(step):
    sure = [(boxes_at((3 * n, 0)), [0], [.9 if n < 5 or n > 25 else .2]) for n in range(30)]
    assert ids_of(step, *sure) == [[0]] + 4 * [[1]] + 21 * [[]] + 4 * [[1]]


def test_uncertain_boxes_alone_make_no_object(step):
    assert ids_of(step, *[(boxes_at((3 * n, 0)), [0], [.4]) for n in range(5)]) == 5 * [[]]


def test_classes_are_apart_and_the_classes_of_a_box_together(step):
    for n in range(4):
        both = boxes_at((50 + n, 50))
        one = result(n, [*both, *boxes_at((0, 0)), *both, *boxes_at((1, 1))], [0, 1, 2, 2], [.95, .9, .8, .7])
        step(one)
        swapped = one.detections
    assert sorted(swapped.ids.tolist()) == [1, 1, 2, 3] and swapped.ids[0] == swapped.ids[2]
    one = result(5, [*boxes_at((0, 0)), *boxes_at((1, 1))], [2, 1], [.9, .7])       # they change places
    step(one)
    assert one.detections.ids.tolist() == [swapped.ids[3], swapped.ids[1]]


def test_of_a_live_source_the_time_counts():
    pytest.importorskip("trackers")
    step = TrackByByteTrack(.5, 10, True)
    for gap, same in ((.1, True), (.9, True), (1.5, False)):
        ids = []
        for number in range(4):
            one = result(number, boxes_at((0, 0)))
            one.taken = 100 * gap + number / 10 + (gap if number > 2 else 0)
            step(one)
            ids += one.detections.ids.tolist()
        assert (ids[2] == ids[3] > 0) is same, gap


def test_without_the_package_one_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "trackers", None)
    with pytest.raises(DarknetError, match=r"^-track bytetrack needs the package trackers: pip install .*--no-deps"):
        TrackByByteTrack(.5, 10, False)


def pan(count=10):
    """Frames of a picture that moves to the left by four pixels each."""
    wide = np.concatenate(frames(2), 1)
    return [np.ascontiguousarray(wide[:, 4 * n:4 * n + SIZE[0]]) for n in range(count)]


@pytest.fixture
def run(workdir, cli):
    small_network()
    video("pan.avi", pan())
    return lambda *words: cli("demo", CFG, WEIGHTS, *words, "-device", "cpu", "-dont_show", "-json_file_output",
                              "o.json")


def records():
    return json.loads(Path("o.json").read_text())


def test_tracked_objects_of_a_video(run):
    pytest.importorskip("trackers")
    assert run("pan.avi")[0] == 0
    plain = records()
    code, out, err = run("-track", "pan.avi", "-prefix", "p")       # -track alone takes no SOURCE for its kind
    assert (code, err) == (0, "") and "(track = 1) " in out
    tracked = records()
    for before, after in zip(plain, tracked, strict=True):          # the same objects, whatever else ByteTrack is given
        stripped = [{key: value for key, value in one.items() if key != "track_id"} for one in after["objects"]]
        assert sorted(map(repr, stripped)) == sorted(map(repr, before["objects"]))
    numbers = [sorted(one.get("track_id", 0) for one in frame["objects"]) for frame in tracked]
    assert not any(numbers[0]) and all(1 in one for one in numbers[1:4]) and max(set().union(*numbers)) < 6
    assert run("pan.avi", "-track", "bytetrack", "-dontdraw_bbox")[0] == 0 and records() == tracked


def test_counts_of_a_video(run):
    pytest.importorskip("trackers")
    code, out, err = run("pan.avi", "-zone", "all=0,0 1,0 1,1 0,1", "-line", "160,0 160,240", "-anchor", "centre",
                         "-counts", "new/c.csv", "-smooth", "3", "-prefix", "p")
    assert (code, err) == (0, "") and "-zone needs tracked objects: -track bytetrack\n" in out
    last = records()[-1]
    assert last["zones"][0]["name"] == "all" and sum(last["zones"][0]["inside"].values()) == len(last["objects"])
    lines = Path("new/c.csv").read_text().splitlines()
    assert lines[0] == "kind,name,class,in,out,entries,inside"
    inside, entries = last["zones"][0]["inside"], last["zones"][0]["entries"]
    assert [line for line in lines if line.startswith("zone")] == [
        f"zone,all,{name},,,{entries.get(name, 0)},{inside.get(name, 0)}" for name in sorted({*inside, *entries})]


@pytest.mark.parametrize("words, message", [
    (["-zone", "1,2"], '-zone needs 3 to 1000 points "x,y x,y ...", found 1'),
    (["-zone", "door=1,2 3,4 x,5"], '-zone needs 3 to 1000 points "x,y x,y ...", found x,5'),
    (["-zone", "1,2 3,4 1,2"], "-zone needs 3 to 1000 points that differ, found 1,2 3,4 1,2"),
    (["-zone", "=1,2 3,4 5,6"], "-zone needs a name of 1 to 50 letters before =, found 0"),
    (["-zone", "a=1,2 3,4 5,6", "-zone", "a=1,2 3,4 5,7"], "-zone needs another name for each, found a twice"),
    (["-line", "1,2 3,4 5,6"], '-line needs 2 points "x,y x,y ...", found 3'),
    (["-line", "1,2 1e9,4"], "-line needs numbers of at most 1000000, found 1e+09"),
    (["-line", "nan,2 1,4"], '-line needs 2 points "x,y x,y ...", found nan,2'),
    (["-counts", "c.csv"], "-counts needs -zone or -line"),
    (["-anchor", "centre"], "-anchor needs -zone or -line"),
    (["-smooth", "-1"], "-smooth needs a number of frames from 0 to 1000, found -1"),
    (["-smooth", "1001"], "-smooth needs a number of frames from 0 to 1000, found 1001"),
    (["-sim_thresh", ".5"], "-sim_thresh needs -track embedding"),
    (["-track", "-dets_for_show", "5"], "-dets_for_show needs -track embedding"),
    (["-line", "0,0 1,1", "-counts", "o.json"], "-json_file_output and -counts are the same file, o.json")])
def test_flags_that_cannot_be(run, words, message):
    assert run("pan.avi", *words)[::2] == (1, f"darknet-py: {message}\n")
    assert not Path("o.json").exists()


def test_other_verbs_refuse_them(run, cli):
    assert cli("detector", "test", "obj.data", CFG, WEIGHTS, "a.png", "-track")[2] == (
        "darknet-py: detector test does not take -track, which detector demo does\n")
