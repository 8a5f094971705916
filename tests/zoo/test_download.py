"""``download`` against a server that drops, truncates, lies about lengths, redirects, and changes its mind."""
import hashlib
import socket
from pathlib import Path
from types import SimpleNamespace
from urllib.request import Request

import pytest
from web import Page

from darknet_py.zoo import download as module
from darknet_py.zoo.download import DownloadError, Redirects, Refused, download

DATA = bytes(range(256)) * 64
OTHER = DATA[::-1]
SIZE, SHA = len(DATA), hashlib.sha256(DATA).hexdigest()
FACTS = {"size": SIZE, "sha256": (SHA,)}
TAG, LATER = '"one"', '"two"'


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new folder" / "a.weights"


def fetch(web, path, *names, **options):
    return download(*(f"{web.url}/{name}" for name in ["a", *names][:1]), path,
                    mirrors=tuple(f"{web.url}/{name}" for name in names), pause=0, **options)


def part(path):
    return path.with_name(f"{path.name}.part")


def is_alone(path):
    """Nothing is left beside the file."""
    return path.read_bytes() == DATA and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("facts", [{}, {"size": SIZE}, {"sha256": ("0" * 64, SHA.upper())}, FACTS])
@pytest.mark.parametrize("fault", [None, "chunked"])
def test_a_file_comes(web, path, facts, fault):
    web.pages["/a"] = Page(DATA, faults=[fault])
    calls = []
    assert fetch(web, path, progress=lambda *call: calls.append(call), **facts) == f"{web.url}/a"
    assert is_alone(path) and calls[-1][0] == SIZE and {total for _, total in calls} <= {SIZE, 0}
    assert web.agents == {module.AGENT} and module.AGENT.startswith("darknet_py/")
    assert fetch(web, path, **facts) is None and len(web.log) == 1


@pytest.mark.parametrize("facts", [{}, {"size": SIZE}, FACTS])
@pytest.mark.parametrize("fault", [1000, {"length": SIZE}])
def test_a_broken_download_goes_on(web, path, facts, fault):
    """With the version that it began with, in the same call."""
    fault = fault if isinstance(fault, int) else {"length": SIZE, "body": DATA[:1000]}
    web.pages["/a"] = Page(DATA, TAG, faults=[fault, 500])
    assert fetch(web, path, tries=2, **facts) and is_alone(path)
    assert web.log == [("/a", None, None), ("/a", "bytes=1000-", TAG), ("/a", "bytes=1500-", TAG)]


def test_a_later_call_goes_on(web, path):
    web.pages["/a"] = Page(DATA, TAG, faults=[1000])
    with pytest.raises(DownloadError, match=f"broke off after 1000 of {SIZE} bytes.* 1000 bytes are in .*, from where"):
        fetch(web, path, tries=1)
    assert part(path).read_bytes() == DATA[:1000] and not path.exists()
    calls = []
    assert fetch(web, path, progress=lambda *call: calls.append(call)) and is_alone(path)
    assert web.log[1:] == [("/a", "bytes=1000-", TAG)] and calls[0] == (1000, SIZE)


@pytest.mark.parametrize("pages, facts, ranges", [
    ([Page(DATA, None, faults=[1000])], {"size": SIZE}, [None, None]),             # nobody knows if it is the same
    ([Page(DATA, None, faults=[1000])], FACTS, [None, "bytes=1000-"]),             # the hash will tell
    ([Page(DATA, TAG, "no", [1000])], FACTS, [None, "bytes=1000-"]),               # ranges are ignored: all anew
    ([Page(OTHER, TAG, faults=[1000]), Page(DATA, LATER)], FACTS, [None, "bytes=1000-"]),
    ([Page(OTHER, TAG, faults=[1000]), Page(DATA, LATER)], {}, [None, "bytes=1000-"]),
    ([Page(OTHER, TAG, faults=[1000]), Page(DATA, LATER, "blind")], {}, [None, "bytes=1000-", None]),
    ([Page(OTHER, None, faults=[1000]), Page(DATA)], FACTS, [None, "bytes=1000-", None]),     # wrong, so anew
    ([Page(DATA, TAG, faults=[1000, {"start": 999}])], FACTS, [None, "bytes=1000-", None]),
    ([Page(DATA, TAG, faults=[1000, {"status": 416}])], FACTS, [None, "bytes=1000-", None]),
])
def test_a_file_that_changes_meanwhile_is_no_mixture(web, path, pages, facts, ranges):
    web.pages["/a"] = pages[0]
    with pytest.raises(DownloadError):
        fetch(web, path, tries=1, **facts)
    web.pages["/a"] = pages[-1]
    assert fetch(web, path, **facts) and is_alone(path)
    assert [asked for _, asked, _ in web.log] == ranges


@pytest.mark.parametrize("found, facts, ranges", [
    (DATA, FACTS, []), (DATA, {"sha256": (SHA,)}, [f"bytes={SIZE}-"]), (DATA + b"x", FACTS, [None]),
    (DATA + b"x", {"sha256": (SHA,)}, [f"bytes={SIZE + 1}-", None]), (OTHER, FACTS, [None]),
    (OTHER, {"sha256": (SHA,)}, [f"bytes={SIZE}-", None]), (OTHER[:9], FACTS, ["bytes=9-", None]), (OTHER, {}, [None]),
    (b"", FACTS, [None])])
def test_what_is_in_the_part(web, path, found, facts, ranges):
    """Complete, too long, or of something else."""
    web.pages["/a"] = Page(DATA, TAG)
    path.parent.mkdir()
    part(path).write_bytes(found)
    assert fetch(web, path, **facts) and is_alone(path)
    assert [asked for _, asked, _ in web.log] == ranges


def test_a_complete_part_needs_no_network(path):
    path.parent.mkdir()
    part(path).write_bytes(DATA)
    assert download("http://127.0.0.1:1/a", path, **FACTS) and is_alone(path)


def test_mirrors_are_tried_in_turn(web, path):
    """And go on from where the one before ended, as the hash can tell that they have the same file."""
    web.pages |= {"/a": Page(DATA, TAG, faults=[1000]), "/c": Page(DATA, faults=[7]), "/d": Page(OTHER, LATER),
                  "/e": Page(DATA)}
    assert fetch(web, path, "b", "c", "d", "e", tries=1, **FACTS) and is_alone(path)
    assert web.log == [("/a", None, None), ("/b", "bytes=1000-", None), ("/c", "bytes=1000-", None),
                       ("/d", "bytes=1007-", None), ("/d", None, None), ("/e", None, None)]
    path.unlink()
    web.pages["/a"].faults, web.pages["/c"] = [1000], Page(OTHER[:-1], TAG)
    with pytest.raises(DownloadError) as caught:
        fetch(web, path, "b", "c", tries=1, **FACTS)
    assert (f"{web.url}/a: the connection broke off after 1000 of {SIZE} bytes; {web.url}/b: the server says 404 Not "
            f"Found; {web.url}/c: expected {SIZE} bytes, the server has {SIZE - 1}; get it in") in str(caught.value)
    assert part(path).read_bytes() == DATA[:1000]


@pytest.mark.parametrize("fault, facts, message", [
    ({"length": 9}, FACTS, f"expected {SIZE} bytes, the server has 9"),
    ({"length": 9}, {"sha256": (SHA,)}, f"expected sha256 {SHA}, found "),
    ({"body": b"<html>"}, {"size": SIZE}, f"expected {SIZE} bytes, the server has 6"),
    ({"body": OTHER}, FACTS, f"expected sha256 {SHA}, found {hashlib.sha256(OTHER).hexdigest()}"),
    ("chunked", {"size": SIZE - 1}, f"expected {SIZE - 1} bytes, the server sends more"),
    ({"status": 404}, {}, "the server says 404 Not Found"), ({"status": 204}, {}, "the server says 204"),
    ("ftp://127.0.0.1/a", {}, "the server redirects to ftp://127.0.0.1/a"), ("http://[/a", {}, "not a URL")])
def test_a_url_that_does_not_give_it(web, path, fault, facts, message):
    """It is left at once, and nothing wrong is left."""
    web.pages["/a"] = Page(DATA, faults=[fault])
    with pytest.raises(DownloadError, match="cannot be fetched") as caught:
        fetch(web, path, **facts)
    text = str(caught.value)
    assert message in text and f"{web.url}/a" in text and str(path) in text and "\n" not in text
    assert len(web.log) == 1 and list(path.parent.iterdir()) == []


def test_passing_troubles(web, path):
    web.pages["/a"] = Page(DATA, TAG, faults=[{"status": 503}, {"status": 429}, 10, {"status": 500}])
    assert fetch(web, path, **FACTS) and is_alone(path)
    web.pages["/a"] = Page(DATA, faults=[{"status": 503}] * 3)
    path.unlink()
    with pytest.raises(DownloadError, match="the server says 503"):
        fetch(web, path, **FACTS)


def test_a_server_that_always_fails_is_given_up(web, path):
    """One that ignores ranges and drops at the same place, and one that has something else and drops."""
    web.pages["/a"] = Page(DATA, None, "no", [1000] * 9)
    with pytest.raises(DownloadError, match="broke off"):
        fetch(web, path, **FACTS)
    assert len(web.log) == 3
    web.log.clear()
    web.pages["/a"] = Page(OTHER, TAG, "yes", [1000, 7000] * 9)
    with pytest.raises(DownloadError, match=f"expected sha256 {SHA}"):
        fetch(web, path, **FACTS)
    assert len(web.log) == 9 and list(path.parent.iterdir()) == []


def test_redirects(web, path):
    web.pages |= {"/a": Page(b"", faults=[f"{web.url}/b"]), "/b": Page(b"", faults=[{"status": 308, "to": "/c"}]),
                  "/c": Page(DATA, TAG)}
    path.parent.mkdir()
    part(path).write_bytes(DATA[:70])
    assert fetch(web, path, **FACTS) and is_alone(path) and web.log[-1] == ("/c", "bytes=70-", None)
    web.pages["/a"].faults = [f"{web.url}/a"] * 30
    with pytest.raises(DownloadError, match="302"):
        fetch(web, path.with_name("b"))


@pytest.mark.parametrize("to", ["http://b/c", "file:///etc/passwd", "data:,x"])
def test_no_redirect_leads_out(to):
    with pytest.raises(Refused, match="redirects to"):
        Redirects().redirect_request(Request("https://a/b"), None, 302, "", {}, to)


def test_a_silent_server(web, path):
    web.pages["/a"] = Page(DATA, faults=["hang"])
    with pytest.raises(DownloadError, match="broke off after 0 bytes: timed out"):
        fetch(web, path, timeout=.1, tries=1)


@pytest.mark.parametrize("error", [socket.gaierror(-2, "Name or service not known"), ConnectionRefusedError(111, "no")])
def test_offline(path, monkeypatch, error):
    def connect(*_, **__):
        raise error

    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(DownloadError) as caught:
        download("https://weights.example/a", path, mirrors=("https://b.example/a",), pause=0, **FACTS)
    assert str(caught.value) == (
        f"{path}: cannot be fetched: https://weights.example/a: no connection: {error.strerror}; "
        f"https://b.example/a: no connection: {error.strerror}; get it in another way, and put it there "
        f"({SIZE} bytes, sha256 {SHA})")
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("found, message", [(b"mine", f"expected {SIZE} bytes, found 4"),
                                            (OTHER, f"expected sha256 {SHA}, found ")])
def test_a_file_that_is_there_is_left_alone(path, found, message):
    path.parent.mkdir()
    path.write_bytes(found)
    with pytest.raises(DownloadError, match=f"{message}.*take it away"):
        download("http://127.0.0.1:1/a", path, **FACTS)
    assert path.read_bytes() == found
    with pytest.raises(DownloadError, match="cannot read the file: Is a directory"):
        download("http://127.0.0.1:1/a", path.parent, **FACTS)


@pytest.mark.parametrize("url", ["ftp://a/b", "file:///etc/passwd", "/a", "http:///a", "http://[/a", "", "\nhttp:a"])
def test_only_the_web(url, path):
    for words in ({"url": url}, {"url": "http://127.0.0.1:1/a", "mirrors": (url,)}):
        with pytest.raises(DownloadError, match="expected a URL that begins with https://"):
            download(path=path, **words)
    assert not path.parent.exists()


def test_disks(web, path, monkeypatch):
    """A full one is noticed at once; what cannot be written is one line."""
    web.pages["/a"] = Page(DATA, TAG)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: SimpleNamespace(free=99))
    with pytest.raises(DownloadError, match=f"{SIZE} bytes are to come, and the disk has room for 99"):
        fetch(web, path)
    monkeypatch.undo()
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(DownloadError, match="cannot write the file: File exists"):
        fetch(web, Path(part(path), "b"))
    if Path("/dev/full").exists():
        part(path).unlink()
        part(path).symlink_to("/dev/full")
        with pytest.raises(DownloadError, match="cannot write the file: No space left on device"):
            fetch(web, path)
    assert not path.exists()


def test_one_process_at_a_time(web, path):
    pytest.importorskip("fcntl")
    web.pages["/a"] = Page(DATA, TAG)
    path.parent.mkdir()
    with module._claimed(part(path)), pytest.raises(DownloadError, match="another process is fetching it"):
        fetch(web, path)
    assert fetch(web, path)


def test_a_server_that_drips_is_given_up(web, path, monkeypatch):
    """Though each byte comes in time; another URL gives the rest."""
    monkeypatch.setattr(module, "PATIENCE", .3)
    web.pages["/a"], web.pages["/b"] = Page(DATA, TAG, faults=["drip"] * 9), Page(DATA, LATER)
    with pytest.raises(DownloadError, match=r"the server is too slow: .* expected at least 1000 a second"):
        fetch(web, path, **FACTS)
    assert 0 < part(path).stat().st_size < 100
    assert fetch(web, path, "b", **FACTS) == f"{web.url}/b" and is_alone(path)


@pytest.mark.parametrize("length", ["9" * 5000, "1" * 19, "x"])
def test_a_length_that_is_none(web, path, length):
    """It is passed over; the file ends with the connection."""
    web.pages["/a"] = Page(DATA, faults=[{"length": length}] * 9)
    assert fetch(web, path, size=SIZE, tries=1) == f"{web.url}/a" and is_alone(path)


@pytest.mark.parametrize("name", ["x" * 300, "x" * 201, "numpy.py", "torch.SO"])
def test_names_that_are_not_fetched(web, path, name):
    web.pages["/a"] = Page(DATA)
    with pytest.raises(DownloadError, match="expected the name of a file of weights, of at most 200 bytes"):
        fetch(web, path.with_name(name), **FACTS)
    assert web.log == [] and not path.parent.exists()
