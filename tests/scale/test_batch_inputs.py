"""Inputs of batch inference: what words name, in which order, and the pictures behind them."""
import io
import json
import os
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from batch_runs import crops, encoded, expected, found, manifest, pictures, table, words
from conftest import raises
from web import Page

from darknet_py.errors import DataError, Reason
from darknet_py.scale import inputs as module
from darknet_py.scale.inputs import Entry, Fingerprint, Inputs
from darknet_py.scale.pictures import Reader
from darknet_py.scale.snapshot import Snapshot


def listed(*given, column=None):
    return list(Inputs(given, column).entries(Fingerprint(), Path()))


def read(entries):
    reader = Reader()
    return [reader.image(item) for item in reader.ahead(enumerate(entries, 1))]


def same(images, count):
    return len(images) == count and all(map(np.array_equal, images, crops(count)))


def tar(path, members):
    with tarfile.open(path, "w") as file:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))


def video(path, images):
    writer = cv2.VideoWriter(path, cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"FFV1"), 12.5, images[0].shape[1::-1])
    for image in images:
        writer.write(image)
    writer.release()


def test_folders_lists_and_patterns(workdir, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 3)             # so that names are sorted on the disk
    paths = sorted([*pictures("a/b", 4), *pictures("a", 4), *pictures("a/c", 2)])
    Path("a/notes.txt").write_text("no picture")
    assert listed("a") == [Entry("picture", path) for path in paths]
    assert [one.file for one in listed("a/*.png")] == [f"a/{number:04d}.png" for number in range(4)]
    assert [one.file for one in listed("a/**/*1.png")] == ["a/0001.png", "a/b/0001.png", "a/c/0001.png"]
    Path("a/list.txt").write_bytes("\ufeffa/0002.png\r\n\nb\\0003.png\nnowhere.png\n".encode())
    assert [one.file for one in listed("a/list.txt", "a/0000.png")] == [
        "a/0002.png", "a/b/0003.png", "nowhere.png", "a/0000.png"]
    strange = b"a/c/\xff\n.png"
    os.rename("a/c/0000.png", strange)
    assert [one.file for one in listed("a/c")] == ["a/c/0001.png", os.fsdecode(strange)]


def test_fingerprints(workdir):
    pictures("a", 3)
    tar("t.tar", [])

    def fingerprint():
        return str(Inputs(["a", "t.tar"]).fingerprint())

    before, entries = fingerprint(), Fingerprint()
    list(Inputs(["a", "t.tar"]).entries(entries, Path()))
    assert str(entries) == before == fingerprint() and entries.files == 4
    os.rename("a/0001.png", "a/1.png")
    assert fingerprint() != before
    os.rename("a/1.png", "a/0001.png")
    assert fingerprint() == before
    tar("t.tar", [("a.png", b"1" * 20_000)])
    assert fingerprint() != before


def test_tars(workdir):
    tar("t.tar", [item for number, data in enumerate(encoded(3)) for item in (
        (f"x/{number}.png", data), (f"x/{number}.json", b"{}"))])
    found = listed("t.tar")
    assert [one.path for one in found] == [f"t.tar/x/{number}.png" for number in range(3)] and same(read(found), 3)
    data = Path("t.tar").read_bytes()
    Path("cut.tar").write_bytes(data[:found[2].place + 5])
    cut = listed("cut.tar")
    assert [one.kind for one in cut[:2]] == ["tar", "tar"] and same(read(cut[:2]), 2)
    with raises(DataError, Reason.TRUNCATED if cut[2].kind == "tar" else Reason.CORRUPT):
        read(cut[2:])
    Path("p.tar.gz").write_bytes(b"")
    Path("no.tar").write_bytes(b"no tar" * 200)
    assert [(one.kind, one.path) for one in listed("p.tar.gz", "no.tar")] == [
        ("broken", "p.tar.gz"), ("broken", "no.tar")]


@pytest.mark.parametrize(("columns", "chosen"), [
    ({"id": list(range(40)), "image": encoded(40)}, None), ({"more": encoded(40), "id": [b""] * 40}, "more"),
    ({"image": [{"bytes": data, "path": None} for data in encoded(40)]}, None)])
def test_parquet_with_pictures(workdir, columns, chosen):
    """Rows are read one after another, and from any row on."""
    pq.write_table(pa.table(columns), "t.parquet", row_group_size=18)
    found = listed("t.parquet", column=chosen)
    assert [one.path for one in found] == [f"t.parquet#{row}" for row in range(40)] and same(read(found), 40)
    for first in (1, 17, 18, 20, 36, 39):
        assert np.array_equal(read(found[first:])[0], crops(40)[first])
    assert np.array_equal(read([found[30], found[3]])[1], crops(40)[3])


def test_parquet_with_paths(workdir):
    paths = pictures("a/b", 2)
    pq.write_table(pa.table({"label": ["x"] * 4, "path": [paths[0], "b/0001.png", "nowhere.png", None]}), "a/t.parquet")
    found = listed("a/t.parquet")
    assert [(one.kind, one.path) for one in found] == [
        ("picture", paths[0]), ("picture", paths[1]), ("picture", "nowhere.png"), ("broken", "a/t.parquet#3")]
    assert same(read(found[:2]), 2)
    broken, = listed("a/t.parquet", column="id")
    assert broken.kind == "broken" and "expected a column id of bytes or paths of pictures, found label, path" in \
        broken.name
    pq.write_table(pa.table({"image": [None, b""]}), "n.parquet")
    for entry in listed("n.parquet"):
        with raises(DataError, Reason.EMPTY):
            read([entry])


def test_videos(workdir):
    video("v.avi", crops(12))
    found = listed("v.avi")
    assert [one.path for one in found] == [f"v.avi#{frame}" for frame in range(12)] and same(read(found), 12)
    assert np.array_equal(read(found[7:])[2], crops(12)[9])         # frames before it are passed over
    images = read([found[3], found[8], found[1]])
    assert all(np.array_equal(image, crops(12)[frame]) for image, frame in zip(images, (3, 8, 1), strict=True))
    Path("no.mp4").write_bytes(b"no video")
    broken, = listed("no.mp4")
    assert broken.kind == "broken" and "no.mp4: not a video" in broken.name
    with raises(DataError, Reason.CORRUPT):
        read([Entry("video", "v.avi", 20)])


def test_over_http(workdir, web, cli):
    pytest.importorskip("aiohttp")
    data = encoded(4)
    tar("t.tar", [("0.png", data[0]), ("1.png", data[1])])
    pq.write_table(pa.table({"bytes": data[2:3]}), "t.parquet")
    video("v.avi", crops(2))
    web.pages |= {"/t.tar": Page(Path("t.tar").read_bytes()), "/t.parquet": Page(Path("t.parquet").read_bytes()),
                  "/3.png": Page(data[3], faults=[{"status": 503}]), "/v.avi": Page(Path("v.avi").read_bytes())}
    names = ("t.tar", "t.parquet", "3.png", "v.avi", "missing.png")
    web.pages["/list.txt"] = Page("".join(f"{web.url}/{name}\n" for name in names).encode())
    code, out, _ = cli(*words(f"{web.url}/list.txt"))
    assert code == 0 and "7 pictures, 1 of them cannot be read" in out
    assert found()[:6] == expected([*crops(4), *crops(2)])
    assert table()["error"][6].as_py() == f"{web.url}/missing.png: no such file"


def test_a_folder_in_a_store(workdir):
    fsspec = pytest.importorskip("fsspec")
    store = fsspec.filesystem("memory")
    for number, data in enumerate(encoded(3)):
        store.pipe(f"/photos/{number % 2}/{number}.png", data)
    store.pipe("/photos/notes.txt", b"")
    found = listed("memory://photos")
    assert [one.path for one in found] == [f"memory:///photos/{name}.png" for name in ("0/0", "0/2", "1/1")]
    images = read(found)
    assert same([images[0], images[2], images[1]], 3)
    assert [one.path for one in listed("memory://photos/*/2.png")] == ["memory:///photos/0/2.png"]
    with raises(DataError, Reason.EMPTY):
        listed("memory://photos/*.gif")


def test_all_kinds_in_one_run(workdir, cli):
    data = encoded(12)
    pictures("pics", 2)
    tar("t.tar", [(f"{number}.png", data[number]) for number in (2, 3, 4)])
    pq.write_table(pa.table({"bytes": data[5:9]}), "t.parquet")
    video("v.avi", crops(12)[9:])
    Path("no.tar").write_bytes(b"no tar" * 200)
    assert cli(*words("pics", "t.tar", "no.tar", "t.parquet", "v.avi", part=5))[0] == 0
    rows = table().to_pylist()
    assert [row["path"] for row in rows if row["error"] is not None] == ["no.tar"] and manifest()["pictures"] == 13
    results = found()
    assert results[:5] + results[6:] == expected(crops(12))


def test_snapshots(workdir):
    entries = [Entry("tar", "t.tar", 512, 9, os.fsdecode(b"\xff\n.png")), *(
        Entry("video", "v.avi", frame) for frame in range(4))]
    snapshot = Snapshot.write(Path(), entries, 2, lambda count: None)
    assert (snapshot.count, snapshot.parts, [snapshot.size(part) for part in range(3)]) == (5, 3, [2, 2, 1])
    assert [one for part in range(3) for one in snapshot.read(part)] == list(enumerate(entries, 1))
    lines = Path("inputs.jsonl").read_text().splitlines()
    assert json.loads(lines[1]) == ["video", "v.avi"] and json.loads(lines[4]) == ["video", "v.avi", 3]
    Path("inputs.jsonl").write_text("\n".join(lines[:3]))
    with raises(DataError, Reason.CORRUPT):
        snapshot.read(1)
