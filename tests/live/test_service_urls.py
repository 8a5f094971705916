"""Pictures from URLs: what is fetched, and what the service does not let itself be used for."""
import json
import socket
import time
from dataclasses import replace

import pytest
from conftest import raises
from serving import PICTURES, TYPE, decoded, detector, running
from web import Page

from darknet_py.errors import DataError, Reason
from darknet_py.live.service import urls
from darknet_py.live.service.urls import fetch, is_public


@pytest.fixture
def local(web):
    web.pages["/a.png"] = Page(PICTURES[0])
    return web


@pytest.mark.parametrize("address, public", [
    ("1.1.1.1", True), ("2606:4700::1111", True), ("127.0.0.1", False), ("10.1.2.3", False), ("172.16.0.1", False),
    ("192.168.1.1", False), ("169.254.169.254", False), ("100.64.0.1", False), ("0.0.0.0", False), ("224.0.0.1", False),
    ("255.255.255.255", False), ("::1", False), ("::", False), ("fe80::1%eth0", False), ("fc00::1", False),
    ("::ffff:127.0.0.1", False), ("::ffff:1.1.1.1", True), ("64:ff9b::7f00:1", False), ("64:ff9b::101:101", True),
    ("2002:7f00:1::", False), ("ff02::1", False)])
def test_public_addresses(address, public):
    assert is_public(address) is public


def test_what_is_fetched(local):
    local.pages |= dict.fromkeys(("/a.png?x=1", "/?c", "/"), local.pages["/a.png"])
    for path, asked in (("/a.png", "/a.png"), ("/a.png?x=1#part", "/a.png?x=1"), ("?c", "/?c"), ("", "/")):
        assert fetch(f"{local.url}{path}", 1 << 20, 5, private=True) == PICTURES[0]
        assert local.log[-1][0] == asked


@pytest.mark.parametrize("fault, reason, says", [
    ("http://127.0.0.1:1/", Reason.UNREADABLE, "refused"), ("file:///etc/passwd", Reason.UNSAFE, "http"),
    ({"status": 500}, Reason.UNREADABLE, "answers 500"), (100, Reason.TRUNCATED, "are missing"),
    ("drip", Reason.UNREADABLE, "not within"), ("hang", Reason.UNREADABLE, "not within")])
def test_faults_of_a_server(local, fault, reason, says):
    local.pages["/a.png"].faults = [fault]
    begin = time.monotonic()
    with raises(DataError, reason, says):
        fetch(f"{local.url}/a.png", 1 << 20, .4, private=True)
    assert time.monotonic() - begin < 2


@pytest.mark.parametrize("url, reason", [
    ("ftp://1.1.1.1/", Reason.UNSAFE), ("file:///etc/passwd", Reason.UNSAFE), ("//1.1.1.1/", Reason.UNSAFE),
    ("http://", Reason.UNSAFE), ("", Reason.UNSAFE), ("http://1.1.1.1/\r\nX: y", Reason.BAD_VALUE),
    ("http://1.1.1.1/ü", Reason.BAD_VALUE), ("http://1.1.1.1:99999/", Reason.UNREADABLE),
    ("http://[::1", Reason.UNREADABLE), ("http://127.0.0.1/", Reason.UNSAFE), ("http://localhost/", Reason.UNSAFE),
    ("http://2130706433/", Reason.UNSAFE), ("http://0x7f.1/", Reason.UNSAFE),
    ("http://[::ffff:10.0.0.1]/", Reason.UNSAFE), ("http://user@127.0.0.1/", Reason.UNSAFE),
    ("http://169.254.169.254/latest/", Reason.UNSAFE)])
def test_what_is_not_asked(url, reason):
    with raises(DataError, reason):
        fetch(url, 1000, 2)


def test_redirects_are_checked_as_well(local, monkeypatch):
    """The first address passes for a public one; that which it redirects to is none."""
    port = local.url.rpartition(":")[2]
    look_up = socket.getaddrinfo
    monkeypatch.setattr(urls, "is_public", lambda address: address == "127.0.0.1")
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *rest, **options: look_up(
        "127.0.0.1" if host == "public.example" else host, *rest, **options))
    assert fetch(f"http://public.example:{port}/a.png", 1 << 20, 5) == PICTURES[0]
    for place in (f"http://127.0.0.2:{port}/", "http://10.0.0.1/", "file:///etc/passwd"):
        local.pages["/a.png"].faults = [place]
        with raises(DataError, Reason.UNSAFE):
            fetch(f"http://public.example:{port}/a.png", 1 << 20, 5)
    local.pages["/a.png"].faults = [f"http://public.example:{port}/a.png"] * 2
    assert fetch(f"http://public.example:{port}/a.png", 1 << 20, 5) == PICTURES[0]
    local.pages["/a.png"].faults = [f"http://public.example:{port}/a.png"] * 9
    with raises(DataError, Reason.UNREADABLE, "redirects more"):
        fetch(f"http://public.example:{port}/a.png", 1 << 20, 5)


def test_large_files_are_not_fetched_whole(local):
    with raises(DataError, Reason.TOO_LARGE):
        fetch(f"{local.url}/a.png", 1000, 5, private=True)


def test_the_service_fetches(local):
    def body(*paths):
        return json.dumps({"images": [{"url": f"{local.url}{path}", "filename": path} for path in paths]}).encode()

    kind = {TYPE: "application/json"}
    with running(detector(), allow_urls=True, allow_private_urls=True, batch=1) as service:
        answer = service.post("", body("/a.png"), kind)
        assert answer.body.decode() == replace(detector()(decoded(PICTURES[0])), path="/a.png").to_json()
        assert service.post("", body("/none"), kind).refusal == (422, "UNREADABLE")
        both = service.post("?format=boxes", body("/a.png", "/none"), kind).json["results"]
        assert "error" not in both[0] and both[1]["error"]["reason"] == "UNREADABLE"
    with running(detector(), allow_urls=True) as service:
        assert service.post("", body("/a.png"), kind).refusal == (422, "UNSAFE")
