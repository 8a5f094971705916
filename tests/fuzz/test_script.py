"""The script fuzz.py: what it finds, saves, replays, and that nothing that a reader does ends it."""
from __future__ import annotations

import json
import os
import subprocess
import sys

import fuzz
import pytest
from conftest import ROOT

# a reader of each kind of fault, told apart by the input's first byte
FAULTY = """
import os, sys, time, warnings
sys.path.insert(0, {scripts!r})
import fuzz
from fuzzing import judge, readers
from darknet_py.cfg.language import parse_cfg
from darknet_py.errors import DarknetError
judge.start_clocks.__defaults__ = (.3, 3)

class Long(DarknetError):
    def __str__(self):
        return "two\\nlines" * 500

def read(path):
    data = path.read_bytes()
    kind = data[:1]
    if kind == b"e":
        parse_cfg(7)
    if kind == b"c":
        os.abort()
    if kind == b"l":
        while True:
            pass
    if kind == b"w":
        time.sleep(60)
    if kind == b"m":
        len(bytearray(3 << 30))
    if kind == b"t":
        raise Long("no")
    if kind == b"r":
        raise DarknetError("no")

readers.READERS = {{"faulty": readers.Reader(lambda: [b"fine", b"refused"], read, "input")}}
sys.exit(fuzz.main(sys.argv[1:]))
"""


def run(folder, *words):
    code = FAULTY.format(scripts=str(ROOT / "scripts"))
    return subprocess.run([sys.executable, "-c", code, *map(str, words)], cwd=folder, capture_output=True, text=True,
                          timeout=300, env=os.environ | {"PYTHONPATH": str(ROOT)})


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faulty")
    corpus = folder / "corpus/faulty"
    corpus.mkdir(parents=True)
    for kind in "eclwmt":
        (corpus / kind).write_text(kind)
    return folder, run(folder, "--runs", "8", "--corpus", "corpus")


def test_all_kinds_of_faults_are_found(done):
    folder, ran = done
    assert ran.returncode == 1 and not ran.stderr
    lines = ran.stdout.splitlines()
    assert lines[1].split()[:2] == ["faulty", "8"] and lines[1].split()[3:] == ["1", "1", "6"], ran.stdout
    for kind in ("AttributeError in darknet_py/cfg/language.py:", "SIGABRT in ", "the limit of CPU in ",
                 "the limit of waiting in ", "MemoryError in ", "a message "):
        assert any(line.startswith(f"    {kind}") for line in lines), kind
    saved = [path for path in (folder / "fuzz-findings/faulty").iterdir() if path.suffix != ".txt"]
    assert sorted(path.read_bytes() for path in saved) == sorted([b"e", b"c", b"l", b"w", b"m", b"t"])
    assert all("--replay" in path.with_suffix(".txt").read_text() for path in saved)


def test_findings_are_replayed(done):
    folder, _ = done
    path = next(path for path in (folder / "fuzz-findings/faulty").iterdir() if path.read_bytes() == b"e")
    ran = run(folder, "--replay", path)
    assert ran.returncode == 1 and "Traceback" in ran.stdout and "AttributeError in darknet_py/cfg/" in ran.stdout


def test_runs_are_the_same_for_a_seed(tmp_path):
    """Mutations are a function of the seed and their number."""
    tables = []
    for _ in range(2):
        ran = run(tmp_path, "--runs", "40", "--seed", "1")
        tables.append([line.split()[:2] + line.split()[3:] for line in ran.stdout.splitlines()[1:2]])
        assert int(tables[-1][0][1]) == 40
    assert tables[0] == tables[1]


@pytest.mark.parametrize("words", [["--only", "nothing"], ["--runs", "-1"], ["--minutes", "0"], ["--corpus", "no"],
                                   ["--replay", "no/such"], ["--runs", "1", "--minutes", "1"]])
def test_arguments_are_refused(words, workdir, capsys):
    with pytest.raises(SystemExit) as stop:
        fuzz.main(words)
    assert stop.value.code == 2 and "error: " in capsys.readouterr().err


def test_coverage_guides_atheris(tmp_path):
    pytest.importorskip("atheris")
    ran = subprocess.run([sys.executable, ROOT / "scripts/fuzz.py", "--engine", "atheris", "--only", "manifest",
                          "--runs", "300"], cwd=tmp_path, capture_output=True, text=True, timeout=600,
                         env=os.environ | {"PYTHONPATH": str(ROOT)})
    line = ran.stdout.splitlines()[1].split()
    assert line[0] == "manifest" and int(line[1]) == 300 and int(line[3]) > 0, json.dumps([ran.stdout, ran.stderr])
