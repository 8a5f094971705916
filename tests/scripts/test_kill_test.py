"""kill_test.py: a few kills of training and of a conversion, and that it notices what is lost."""
import os
import re
import subprocess
import sys

import kill_test
import pytest
from conftest import ROOT
from killing.operations import Moment, run
from killing.whole import check
from processes import ENVIRONMENT

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.mark.parametrize("words", [("training", "-no_report"), ("convert", "out.weights")])
def test_nothing_is_lost(words):
    part, command = words
    process = subprocess.run([sys.executable, ROOT / "scripts/kill_test.py", "--only", part, f"--commands={command}",
                              "--moments", "3"], env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, process.stdout + process.stderr
    kills, ended, whole = (int(re.search(pattern, process.stdout)[1]) for pattern in (
        r"^(\d+) kills", r"\((\d+) commands ended before\)", r"(\d+) files looked at and whole"))
    assert kills + ended == 3 and kills and whole > 100 and "; 0 losses; " in process.stdout


def test_it_kills_in_the_middle_of_a_write(tmp_path, monkeypatch):
    """Before its second half; and a command that writes in place is found out."""
    folder = tmp_path / "run"
    folder.mkdir()

    def write(words):
        with open("a.json", "wb") as file:
            file.write(b'{"key": 1}')
        return 0

    monkeypatch.setattr("darknet_py.cli.main", write)
    assert run(["write"], folder)[:3] == (0, "", ["open", "write"])
    after = {"a.json": (folder / "a.json").read_bytes()}
    killed = run(["write"], folder, Moment(at=1))
    assert killed.killed and killed.operations == ["open"] and (folder / "a.json").read_bytes() == after["a.json"]
    assert run(["write"], folder, Moment(at=2)).killed and (folder / "a.json").read_bytes() == b'{"key'
    found = check(folder, (after,), (), (), True)
    assert (found.whole, found.left, found.wrong) == (0, [], ["a.json: neither as it was nor as it becomes"])
    (folder / ".darknet-py-0-1-0.tmp").write_bytes(b"")
    (folder / "b.json").write_bytes(b"")
    found = check(folder, (after,), ("*.json",), (), False)
    assert found.whole == 0 and found.left == [".darknet-py-0-1-0.tmp"] and len(found.wrong) == 3


@pytest.mark.parametrize("words", [["--only", "nothing"], ["--moments", "0"]])
def test_it_refuses(words, capsys):
    with pytest.raises(SystemExit):
        kill_test.main(words)
    assert "error: " in capsys.readouterr().err
