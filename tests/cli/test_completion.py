"""Completion in bash, zsh and fish, run without a terminal."""
import shutil
import subprocess
import sys
import time

import pytest
from conftest import ROOT

from darknet_py.cli import VERBS, completion, shells
from darknet_py.inference.backends import BACKENDS, INT8, PRECISIONS
from darknet_py.zoo.architectures import ARCHITECTURES

ASK = {                 # sources the script, and prints what completes the line, a word a line
    "bash": """source ./script; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_darknet_py darknet-py "${{COMP_WORDS[COMP_CWORD]}}" "${{COMP_WORDS[COMP_CWORD-1]}}"
printf '%s\\n' "${{COMPREPLY[@]}}" """,
    "zsh": """compdef() {{ :; }}; source ./script; words=({words}); CURRENT=${{#words}}
compadd() {{ shift; for one in "$@"; do [[ $one == ${{words[CURRENT]}}* ]] && print -r -- $one; done; }}
_files() {{ for one in ${{words[CURRENT]}}*(N); do [[ $1 != -/ || -d $one ]] && print -r -- $one; done; }}
_darknet_py""",
    "fish": """source ./script; for one in (complete -C '{line}' | cut -f1); string replace -r -- '/$' '' $one; end"""}
OPTIONS = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("completion")
    table = completion.table()
    for shell in ASK:
        (folder / shell).mkdir()
        (folder / shell / "script").write_text(getattr(shells, shell)(table))
        for name in ("a b.jpg", "net.cfg"):
            (folder / shell / name).touch()
        (folder / shell / "folder").mkdir()
    return folder


@pytest.mark.parametrize("shell", ASK)
@pytest.mark.parametrize("words, there, absent", [
    (["dete"], ["detect", "detector"], ["demo"]), (["detect", "-ext"], ["-ext_output"], ["-thresh"]),
    (["detect", "-backend", "o"], ["openvino", "onnxruntime"], ["ops", "net.cfg"]),
    (["detect", "-precision", ""], [*PRECISIONS, INT8], ["net.cfg"]),
    (["detect", "yolov4-ti"], ["yolov4-tiny"], ["net.cfg"]), (["detect", "ne"], ["net.cfg"], ["folder"]),
    (["detect", "net.cfg", "-out", "n"], ["net.cfg"], ["new"]), (["detect", "-thresh", ""], [], ["net.cfg", "yolov4"]),
    (["detect", "-ext_output", "ne"], ["net.cfg"], []), (["train", "x", "-backup", ""], ["folder"], ["net.cfg"]),
    (["detector", ""], ["test", "train", "map", "recall", "valid", "calc_anchors", "demo"], ["net.cfg", "detect"]),
    (["detector", "map", "-poi"], ["-points"], []), (["detector", "test", "-p"], ["-pictures"], ["-points"]),
    (["classifier", "train", "-amp", ""], ["off", "bf16", "fp16"], []), (["new", "yolov7"], ["yolov7"], []),
    (["help", "quan"], ["quantize"], []), (["completion", ""], ["bash", "zsh", "fish"], ["net.cfg"]),
    (["download", "yolov4.con"], ["yolov4.conv.137"], []), (["nothing", ""], [], ["detect"]),
])
def test_completes(scripts, shell, words, there, absent):
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}")
    line = ["darknet-py", *words]
    text = ASK[shell].format(words=" ".join(f"'{word}'" for word in line), line=" ".join(line))
    began = time.perf_counter()
    done = subprocess.run([shell, *OPTIONS[shell], "-c", text], cwd=scripts / shell, capture_output=True, text=True,
                          check=False)
    assert not done.stderr and time.perf_counter() - began < 3
    found = done.stdout.split("\n")
    assert set(there) <= set(found) and not set(absent) & set(found)


@pytest.mark.parametrize("words, there", [("detect --ext", "--ext_output"), ("detect --backend ope", "openvino"),
                                          ("-thresh .3 detect -backend ope", "openvino")])
def test_other_ways_to_write_flags(scripts, words, there):
    done = subprocess.run(["bash", "--norc", "-c", ASK["bash"].format(words=f"darknet-py {words}")],
                          cwd=scripts / "bash", capture_output=True, text=True, check=True)
    assert done.stdout.split() == [there]


def test_names_with_spaces_stay_one(scripts):
    done = subprocess.run(["bash", "--norc", "-c", ASK["bash"].format(words="darknet-py detect x y a")],
                          cwd=scripts / "bash", capture_output=True, text=True, check=True)
    assert "a b.jpg" in done.stdout.split("\n")


def test_table():
    table = completion.table()
    assert set(VERBS) <= set(table) and {"detector map", "classifier predict", "rnn generate"} <= set(table)
    assert completion.VALUES["backend"] == ("auto", *BACKENDS) and completion.VALUES["backends"] == tuple(BACKENDS)
    assert completion.VALUES["precision"] == (*PRECISIONS, INT8)
    assert set(ARCHITECTURES) == set(table["detect"].words) == set(table["new"].words)
    assert not table["new"].files and table["convert"].files


def test_takes_no_torch():
    """It stands in start-up files of shells."""
    code = ("import sys; from darknet_py.cli import main; status = main(['completion', 'bash']); "
            "sys.exit(status or any(name in sys.modules for name in ('torch', 'cv2', 'numpy', 'pyparsing')))")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert subprocess.run(["bash", "-n"], input=done.stdout, text=True, check=False).returncode == 0
