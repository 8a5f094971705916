"""serve: flags, settings in TOML, what is refused, and the end by a signal in a process of its own."""
import argparse
import http.client
import re
import signal
import threading
from pathlib import Path

import pytest
from clips import WEIGHTS, small_network, until
from conftest import ROOT
from processes import start
from serving import PICTURES, PNG, answer, multipart

from darknet_py.cli import serve
from darknet_py.live.service.settings import OPTIONS, Settings

GOOD = f'cfg = "small.cfg"\nweights = "{WEIGHTS}"\n'


def values_of(*words):
    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)
    return serve.settings_of(parser.parse_args(words))


def test_flags_count_more_than_the_file_and_that_more_than_the_defaults(workdir, monkeypatch):
    Path("some").mkdir()
    Path("some/net.cfg").write_text("")
    Path("some/s.toml").write_text('port = 9000\nthresh = 1\nbatch = 3\nallow_urls = true\ncfg = "net.cfg"\n'
                                   'model = ["b=net.cfg,b.weights,b.names"]\nletter_box = true\n')
    found = values_of("--config", "some/s.toml", "--thresh", ".5", "--names", "n")
    assert (found["port"], found["thresh"], found["batch"], found["allow_urls"]) == (9000, .5, 3, True)
    assert found["cfg"] == "some/net.cfg" and found["names"] == "n" and found["letter_box"] is True
    assert found["model"] == ["b=some/net.cfg,b.weights,b.names"] and found["queue"] == OPTIONS["queue"].default
    assert Settings.of(found).thresh == .5
    assert {name: OPTIONS[name].default for name in vars(Settings())} == vars(Settings())
    monkeypatch.setenv("DARKNET_PY_TOKEN", "abc")
    assert values_of()["token"] == "abc" and values_of("--token", "x")["token"] == "x"


@pytest.mark.parametrize("text, says", [
    ("port = [", "s.toml: no TOML: "), ("prot = 1", r"s.toml: prot: expected one of .*; did you mean port\?"),
    ("port = true", "s.toml: port: expected a whole number, found True"),
    ("port = 70000", "s.toml: port: expected a number from 0 to 65535, found 70000"),
    ("thresh = nan", "s.toml: thresh: expected a number from 0 to 1, found nan"),
    ("thresh = '1'", "s.toml: thresh: expected a number, found '1'"),
    ("allow_urls = 1", "s.toml: allow_urls: expected true or false, found 1"),
    ("model = 'a=b,c'", "s.toml: model: expected a list of texts, found 'a=b,c'"),
    ("model = [1]", r"s.toml: model: expected a list of texts, found \[1\]"),
    ("[model]\na = 1", "s.toml: model: expected a list of texts"),
    ("token = 'a b'", "the token: expected up to 1000 characters of ASCII, without spaces"),
    ("token = ''", "the token: expected"), ("a" * 5000, "no TOML"), ("a = " + "[" * 9999, "no TOML"),
    (b"\xff", "s.toml: expected UTF-8, found byte 0xff at 0"), (None, "s.toml: cannot read the settings: No such file"),
    ("", "expected CFG WEIGHTS, or -model NAME=CFG,WEIGHTS"),
    ("cfg = 'a.cfg'", "expected CFG WEIGHTS, found a.cfg alone"),
    ("model = ['a']", "-model: expected NAME=CFG,WEIGHTS, NAME=CFG,WEIGHTS,NAMES or NAME= and a network of the zoo, "
     "found a"),
    ("model = ['a/b=c,d']", "-model: expected NAME="), ("model = ['a=c']", "-model: expected NAME="),
    ("model = ['a=c,']", "-model: expected NAME="), ("model = ['a=c,d,e,f']", "-model: expected NAME="),
    ("model = ['a=c,d', 'a=e,f']", "-model a: there are two networks of that name"),
    (GOOD + "backend = 'none'", r"expected a backend \(auto, "),
    (GOOD + "bind = 'none.invalid'", "cannot listen on it"), (GOOD + "device = 'x'", "-device needs auto, cpu"),
    ("cfg = 'none.cfg'\nweights = 'w'", "none.cfg: cannot read")])
def test_wrong_settings_end_in_one_line(workdir, cli, text, says):
    small_network()
    if text is not None:
        Path("s.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    code, out, err = cli("serve", "-config", "s.toml", *([] if "bind" in str(text) else ["-bind", "127.0.0.1"]),
                         *([] if "port" in str(text) else ["-port", "0"]))
    assert code == 1 and out == "" and err.count("\n") == 1 and re.search(says, err), err


@pytest.mark.parametrize("words, says", [
    (("-port", "70000"), "-port: expected a number from 0 to 65535, found 70000"),
    (("-thresh", "nan"), "-thresh: expected a number from 0 to 1, found nan"),
    (("-batch", "0"), "-batch: expected a number from 1 to 256, found 0"), (("-wait", "inf"), "-wait: expected")])
def test_wrong_flags_end_in_one_line(cli, words, says):
    code, _, err = cli("serve", "a.cfg", "a.weights", *words)
    assert code == 1 and err.count("\n") == 1 and says in err


def test_tiles_are_not_taken(cli):
    code, _, err = cli("serve", "a.cfg", "a.weights", "-tiles", "2x2")
    assert code != 0 and "tiles" in err


def test_missing_packages_are_named(cli, monkeypatch):
    monkeypatch.setattr(serve, "find_spec", lambda name: None if name in ("uvicorn", "python_multipart") else 1)
    code, _, err = cli("serve", "a.cfg", "a.weights")
    assert (code, err) == (1, "darknet-py: serve needs the package uvicorn: pip install uvicorn python-multipart\n")


def test_a_port_in_use_is_told_before_the_network_is_loaded(cli, workdir):
    import socket
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, _, err = cli("serve", "none.cfg", "none.weights", "-port", port)
    assert code == 1 and f"port {port}: cannot listen on it at 127.0.0.1: Address already in use" in err


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_ends_it_once_all_is_answered(workdir, number, code):
    process = start("serve", ROOT / "cfg/shapes.cfg", WEIGHTS, "-port", 0, "-backend", "pytorch", "-device", "cpu",
                    "-model", f"other={ROOT / 'cfg/shapes.cfg'},{WEIGHTS},{ROOT / 'cfg/shapes.names'}")
    found = re.match(r"serving shapes, other at http://127\.0\.0\.1:(\d+)/$", process.stdout.readline())
    answers, body = [], multipart(*(("a", data) for data in PICTURES))

    def connected():
        return http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=30)

    def ask():
        connection = connected()
        connection.request("POST", "/detect?format=boxes&model=other", *body)
        answers.append(answer(connection))
        connection.close()

    def waiting():
        connection = connected()
        connection.request("GET", "/metrics")
        text = answer(connection).body.decode()
        connection.close()
        return float(re.search(r'^darknet_queue{model="other"} (\S+)$', text, re.M)[1])

    idle = connected()                              # it is kept, and must not delay the end
    idle.request("POST", "/detect", PICTURES[0], PNG)
    assert answer(idle).status == 200
    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    until(lambda: waiting() + 4 * len(answers) == 32, 30)       # all were taken
    process.send_signal(number)
    for thread in threads:
        thread.join(30)
    assert [one.status for one in answers] == [200] * 8
    assert all(len(one.json["results"]) == 4 for one in answers)
    assert process.wait(20) == code
    assert re.fullmatch(r"stopped after \d+ requests\n", process.stdout.read())
    idle.close()
