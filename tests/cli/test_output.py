"""What is printed: foreign text escaped, a line each; and output that is closed, lost or full."""
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import ROOT
from processes import CLOSED, ENVIRONMENT, finish

import darknet_py.cli as cli_room
from darknet_py.cli import VERBS, main
from darknet_py.cli.output import LONGEST
from darknet_py.errors import MOST

pytestmark = pytest.mark.usefixtures("workdir")
EVIL = "a\x1b[31m\nb\x9b2J"
SHOWN = r"a\x1b[31m\nb\x9b2J"
SHAPES = [ROOT / "cfg/shapes.cfg", ROOT / "weights/shapes.weights", ROOT / "cfg/shapes.png"]

TYPED = {       # words, exit code; {evil} and {long} are text, {shapes} ... files of such a name
    "verb": (["{evil}"], 2), "long verb": (["{long}"], 2), "flag": (["info", "a", "--{evil}"], 2),
    "more words": (["info", "a", "b", "{evil}"], 2), "many words": (["info", "a", "b", "{long}"], 2),
    "value": (["detect", "a", "b", "-thresh", "{evil}"], 2), "cfg": (["info", "{evil}"], 1),
    "long cfg": (["info", "{long}"], 1), "data": (["check", "{evil}"], 1), "long data": (["check", "{long}.data"], 1),
    "long source": (["check", "{long}"], 1), "long out": (["edit", "{cfg}", "net.batch=1", "-o", "{long}"], 1),
    "picture": (["detect", "{cfg}", "{weights}", "{evil}.jpg", "{long}", "-dontdraw_bbox"], 1),
    "section": (["edit", "{cfg}", "{evil}.batch=1"], 1), "download": (["download", "{evil}", "{long}"], 1),
    "zoo": (["zoo", "{evil}"], 1), "device": (["detect", "{cfg}", "{weights}", "-device", "{evil}"], 1),
    "format": (["convert", "{cfg}", "{weights}", "x.{evil}"], 1),
    "order": (["train", "{evil}.cfg", "{long}.data"], 1), "gpus": (["train", "a", "b", "-gpus", "{evil},{long}"], 1),
    "a power as a GPU": (["train", "a", "b", "-gpus", "\u00b2"], 1),
    "info": (["info", "{cfg}", "{weights}"], 0), "detect": (["detect", "{cfg}", "{weights}", "{picture}"], 0),
    "partial": (["partial", "{cfg}", "{weights}", "{evil}.w", "1"], 0), "schedule": (["schedule", "{digits}"], 0),
    "edit": (["edit", "{cfg}", "net.batch=4", "-o", "{evil}3.cfg"], 0),
    "convert": (["convert", "{cfg}", "{weights}", "{evil}.safetensors"], 0),
    "map": (["detector", "map", "{data}", "{cfg}", "{weights}"], 0),
    "valid": (["detector", "valid", "{data}", "{cfg}", "{weights}", "-out", "{evil}"], 0),
    "evaluate": (["evaluate", "{data}", "{cfg}", "{weights}", "-json", "{evil}.json"], 0),
    "check set": (["check", "{data}", "{cfg}"], 1), "new": (["new", "yolov4-tiny", "-classes", "1", "-o", "{evil}"], 0),
    "anchors": (["detector", "calc_anchors", "{data}", "{cfg}", "-num_of_clusters", "2"], 0),
    "preview": (["preview", "{data}", "{cfg}", "-out", "{evil}.png"], 0),
    "train": (["train", "{data}", "{cfg}", "-backup", "{evil}", "-device", "cpu", "-no_report"], 0),
}


@pytest.fixture
def evil():
    """Files with such names, and such names in files."""
    files = dict(zip(("cfg", "weights", "picture"), SHAPES, strict=True)) | {"digits": ROOT / "cfg/digits.cfg"}
    names = {}
    for what, path in files.items():
        names[what] = f"{EVIL}{path.suffix}" if what != "digits" else f"{EVIL}2.cfg"
        Path(names[what]).write_bytes(path.read_bytes())
    text = Path(names["cfg"]).read_text()
    Path(names["cfg"]).write_text(text.replace("max_batches", "#").replace("[net]", "[net]\nmax_batches=1\nbatch=2"))
    names["data"] = f"{EVIL}.data"
    Path("x.names").write_text("\x1b[2Ja\nb\x9b\nc\r\n")
    Path("p\x1b.txt").write_text("0 .5 .5 .2 .2\n\x1b[31m\n7 .5 .5 .2 .2\n1 .2 .2 .1 .1\n")
    Path("p\x1b.png").write_bytes(SHAPES[2].read_bytes())
    Path("x.txt").write_text("p\x1b.png\nq\x1b[31m.png\n")
    Path(names["data"]).write_text("classes=3\ntrain=x.txt\nvalid=x.txt\nnames=x.names\n")
    return names | {"evil": EVIL, "long": "x" * 100_000}


@pytest.mark.parametrize("words, expected", TYPED.values(), ids=TYPED)
def test_foreign_text_is_escaped(words, expected, evil, cli):
    code, out, err = cli(*[word.format(**evil) for word in words])
    assert code == expected and out + err != ""
    for line in (out + err).split("\n"):
        assert line.replace("\t", "").isprintable() and len(line) <= LONGEST
    if expected == 1:
        assert all(len(line) <= MOST + 20 for line in err.split("\n"))
    assert "Traceback" not in err


class Gone:
    """A stream whose reader has gone."""

    def write(self, text):
        raise BrokenPipeError

    flush = lambda self: self.write("")             # noqa: E731

    def isatty(self):
        return False

    def fileno(self):
        raise OSError


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize("verb", VERBS)
def test_a_reader_that_has_gone(verb, stream, monkeypatch, capfd):
    def run(arguments):
        print("something", file=getattr(sys, stream), flush=True)

    module = SimpleNamespace(add_arguments=lambda parser: None, run=run, __doc__="")
    monkeypatch.setattr(cli_room, "import_module", lambda name: module)
    monkeypatch.setattr(sys, stream, Gone())
    assert main([verb]) == 141
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name, code", [("stdout", 141), ("stderr", 141), ("/dev/full", 1)])
def test_what_cannot_be_written_is_given_up(name, code, monkeypatch):
    """Else Python writes it again at its end, and fails."""
    def run(arguments):
        print("something", file=lost, end="")
        raise BrokenPipeError if code == 141 else OSError("full")

    far_end, gone = os.pipe()
    os.close(far_end)
    monkeypatch.setattr(cli_room, "import_module", lambda _: SimpleNamespace(add_arguments=lambda parser: None, run=run,
                                                                             __doc__=""))
    with open(gone, "w") as pipe, open("/dev/full", "w") as full:
        lost = full if code == 1 else pipe
        monkeypatch.setattr(sys, "stdout" if code == 1 else name, lost)
        assert main(["info"]) == code
        lost.flush()


REDIRECTIONS = {    # -> exit code, what stderr must have
    ">&-": (0, ""), ">&- <&-": (0, ""), "2>&-": (0, ""), "| true": (141, ""), "2>&1 | true": (141, ""),
    ">/dev/full": (1, "darknet-py: cannot write the output: No space left on device\n"),
}


def in_bash(words, redirection):
    """(exit code, stderr) of a command that Python starts with such streams."""
    ran = subprocess.run(["bash", "-c", f"set -o pipefail; {sys.executable} -m darknet_py {words} {redirection}"],
                         env=ENVIRONMENT, capture_output=True, text=True, timeout=200)
    return ran.returncode, ran.stderr


def in_a_fork(words, redirection):
    """The same without Python's start, of which others have tests enough."""
    far_end, gone = os.pipe()
    os.close(far_end)
    with open(gone, "wb") as gone, open("/dev/full", "wb") as full:
        streams = {">&-": {"stdout": CLOSED}, ">&- <&-": {"stdin": CLOSED, "stdout": CLOSED},
                   "2>&-": {"stderr": CLOSED}, "| true": {"stdout": gone},
                   "2>&1 | true": {"stdout": gone, "stderr": gone}, ">/dev/full": {"stdout": full}}[redirection]
        code, _, err = finish(*words.split(), **streams)
    return code, err


@pytest.mark.parametrize("words, run", [("--version", in_bash), ("info --help", in_bash), ("info {cfg}", in_a_fork),
                                        ("detect {cfg} {weights} {picture}", in_bash)])
@pytest.mark.parametrize("redirection, expected", REDIRECTIONS.items())
def test_output_that_is_closed(words, run, redirection, expected):
    words = words.format(cfg=SHAPES[0], weights=SHAPES[1], picture=SHAPES[2])
    code, said = expected
    wrote = words.startswith("detect") and code == 0
    assert run(words, redirection) == (code, "wrote predictions.jpg\n" if wrote and redirection != "2>&-" else said)
    if wrote:                                               # no file got what was printed
        assert Path("predictions.jpg").read_bytes()[:2] == b"\xff\xd8"


def test_errors_that_nobody_caught(monkeypatch, capsys):
    for error, said in ((MemoryError(), "there is not enough memory"), (OSError(5, "Input/output error", EVIL),
                        f"{SHOWN}: Input/output error"), (OSError("cut short"), "cannot write the output: cut short")):
        def run(arguments, error=error):
            raise error

        module = SimpleNamespace(add_arguments=lambda parser: None, run=run, __doc__="")
        monkeypatch.setattr(cli_room, "import_module", lambda name, module=module: module)
        assert main(["info"]) == 1 and capsys.readouterr().err == f"darknet-py: {said}\n"
