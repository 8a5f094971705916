"""Pictures from URLs: whole ones, and one line for whatever goes wrong."""
import cv2
import numpy as np
import pytest
from conftest import raises
from web import Page

from darknet_py.data import remote
from darknet_py.data.given import decode
from darknet_py.data.remote import fetch_picture
from darknet_py.errors import DataError, Reason

ARRAY = np.random.default_rng(1).integers(0, 256, (20, 30, 3)).astype(np.uint8)
DATA = cv2.imencode(".png", ARRAY)[1].tobytes()


@pytest.mark.parametrize("path", ["/a.png", "/a.png?x=[1]*&y=%20", "/a%20b.png"])
@pytest.mark.parametrize("fault", [None, "chunked"])
def test_a_picture(web, path, fault):
    web.pages[path] = Page(DATA, faults=[fault])
    assert np.array_equal(decode(web.url + path), ARRAY)
    assert web.log[0][0] == path and next(iter(web.agents)).startswith("darknet_py/")


def test_spaces_are_escaped(web):
    web.pages["/a%20%C3%A9.png"] = Page(DATA)
    assert fetch_picture(f"{web.url}/a é.png") == DATA


def test_redirects(web):
    web.pages["/a"] = Page(b"", faults=[f"{web.url}/b"])
    web.pages["/b"] = Page(DATA)
    assert fetch_picture(f"{web.url}/a") == DATA
    web.pages["/c"] = Page(b"", faults=["ftp://a/b"] * 20)
    web.pages["/d"] = Page(b"", faults=[f"{web.url}/d"] * 20)
    for path, says in (("/c", "redirects to ftp://a/b"), ("/d", "redirect")):
        with raises(DataError, Reason.UNREADABLE, f"^{web.url}{path}: cannot be fetched: .*{says}"):
            fetch_picture(web.url + path)


@pytest.mark.parametrize("page, reason, says", [
    (None, Reason.MISSING_FILE, "the server says 404"), (Page(b"<html>"), Reason.CORRUPT, "not an image, or a broken"),
    (Page(b""), Reason.EMPTY, "the image file is empty"),
    (Page(DATA, faults=[50]), Reason.TRUNCATED, "bytes are missing"),
    (Page(DATA, faults=[{"status": 503}]), Reason.UNREADABLE, "the server says 503"),
])
def test_faults(web, page, reason, says):
    if page is not None:
        web.pages["/a.png"] = page
    with raises(DataError, reason, says) as caught:
        decode(f"{web.url}/a.png")
    assert str(caught.value).startswith(f"{web.url}/a.png: ") and "\n" not in str(caught.value)


def test_bounds(web, monkeypatch):
    web.pages["/a"] = Page(DATA, faults=[None, "drip", "hang"])
    with raises(DataError, Reason.TOO_LARGE, "at most 100 bytes"):
        fetch_picture(f"{web.url}/a", most=100)
    with raises(DataError, Reason.UNREADABLE, r"bytes came in 0\.2 seconds"):
        fetch_picture(f"{web.url}/a", seconds=.2)
    monkeypatch.setattr(remote, "SILENCE", .1)
    with raises(DataError, Reason.UNREADABLE, "timed out"):
        fetch_picture(f"{web.url}/a")


@pytest.mark.parametrize("url", ["http://", "http:///a.png", "http://127.0.0.1:1/a", "http://[::1/a", "http://a:b/"])
def test_what_is_no_address(url, web):
    with pytest.raises(DataError, match=r"^http://.*: "):
        decode(url)
