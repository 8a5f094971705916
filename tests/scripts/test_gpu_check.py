"""The program that checks and measures on a GPU, on the CPU; and that no part takes others along."""
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import gpu_check
import pytest
import torch
from conftest import ROOT
from gpu import report
from gpu.common import Job
from gpu.facts import rate_of
from gpu.goals import GOALS
from gpu.inference import plan
from gpu.report import records

PROGRAM = [sys.executable, str(ROOT / "scripts/gpu_check.py")]


def test_all_parts_on_the_cpu(tmp_path):
    """The real thing, small: every part has figures, nothing fails, and what is compared lies within its bounds."""
    done = subprocess.run([*PROGRAM, "--device", "cpu", "--quick", "--minutes", "30", "--out", str(tmp_path)],
                          capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert found["failures"] == [] and found["passed"] >= 15
    for part in (*gpu_check.PARTS, gpu_check.REFERENCE):
        rows = found["parts"][part.name]
        assert len(rows) > 2 and rows[-1]["what"] == "end", part
        assert not [row for row in rows if "failure" in row or "left_out" in row]
        assert all(row["error"] <= row["most"] for row in rows if "error" in row)
    by_name = {row["what"]: row for rows in found["parts"].values() for row in rows}
    assert by_name["goldens: forward"]["compared"] == by_name["goldens: forward"]["of"] > 5
    speeds = [row for row in found["parts"]["inference"] if "images_a_second" in row]
    assert {row["mode"] for row in speeds} == {"eager", "channels_last", "Detector", "compile"}
    assert all(row["images_a_second"] > 0 for row in speeds)
    assert {"convolution", "loss", "optimiser", "batch norm"} <= set(by_name["profile of a step"]["classes"])
    assert by_name["the first loss beside the CPU's"]["error"] < 1e-5
    assert by_name["kill -9, and on"]["weights_apart"] == 0
    assert by_name["largest batch, off"]["largest"] == 4
    text = (tmp_path / "gpu.md").read_text()
    assert text == report.text(found)
    for title in ("Goals", "Correctness", "Inference", "Training", "Where a step's time goes", "Memory"):
        assert f"\n## {title}\n" in text
    assert "What failed" not in text and not (tmp_path / "docs").exists()


def test_a_part_that_fails_takes_no_other_along(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *sys.path]))
    parts = [gpu_check.Part(name, f"parts:{name}", 1) for name in ("raises", "hangs", "good")]
    seen = []
    begin = time.monotonic()
    monkeypatch.setattr(gpu_check, "GRACE", 1)
    troubles = gpu_check.run_parts(parts[:1], tmp_path, "cpu", True, 100, seen.append, None)
    troubles += gpu_check.run_parts(parts[1:2], tmp_path, "cpu", True, 4, seen.append, None)
    beside = parts[2]._replace(name="beside")
    troubles += gpu_check.run_parts(parts[2:], tmp_path, "cpu", True, 100, seen.append, beside)
    assert time.monotonic() - begin < 200 and len(seen) == 3
    assert troubles == ["raises: ended with status 1", "hangs: did not end within 4 s, and was ended"]
    found = report.gather(tmp_path, ["raises", "hangs", "good", "beside"], troubles, "cpu", True, 1.)
    assert [row["what"] for row in found["parts"]["raises"]] == ["a check", "a cell", "after it"]
    assert [row["what"] for row in found["parts"]["hangs"]] == ["before it"]
    assert [row["what"] for row in found["parts"]["good"]] == ["a figure", "end"] == [
        row["what"] for row in found["parts"]["beside"]]
    assert found["failures"] == [*troubles, "raises: a check: error 2.0, most 1",
                                 "raises: a cell: ValueError: on purpose"]
    assert all(line in report.text(found) for line in troubles)


@pytest.mark.parametrize("words", [["--parts", "facts,nothing"], ["--minutes", "0"], ["--device", "tpu"]])
def test_refuses(words, capsys):
    with pytest.raises(SystemExit) as end:
        gpu_check.main(words)
    assert end.value.code == 2 and "error: " in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu(tmp_path, capsys):
    assert gpu_check.main(["--out", str(tmp_path / "out")]) == 1
    assert "finds no CUDA device" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_what_matters_most_comes_first():
    cells = plan(cuda=True, quick=False)
    assert len(cells) == len(set(cells))
    assert [cell[:3] for cell in cells[:8:2]] == [goal[:3] for goal in GOALS]
    assert {cell.precision for cell in cells[:8]} == {"float16"}
    modes = [cell.mode for cell in cells]
    assert set(modes[modes.index("compile"):]) == {"compile"} and modes.count("compile") == 4
    for name in (("yolov4", 416), ("yolov4", 608), ("yolov4-tiny", 416)):
        assert {cell[2:] for cell in cells if cell[:2] == name} >= {
            (batch, precision, mode) for batch in (1, 8, 32) for mode in ("eager", "channels_last", "graph")
            for precision in ("float32", "TF32", "bfloat16", "float16")}


def test_a_record_cut_off_does_not_count(tmp_path):
    job = Job("part", tmp_path / "part.jsonl", torch.device("cpu"), True, 10)
    job.write("one", precision="TF32", rate=2.)
    with job.path.open("a") as file:
        file.write('{"what": "tw')
    assert records(job.path) == [{"what": "one", "precision": "TF32", "rate": 2.}]
    assert rate_of(Job("other", tmp_path / "other.jsonl", job.device, True, 10), "TF32") is None
    job.path.rename(tmp_path / "facts.jsonl")
    assert rate_of(job, "TF32") == 2 and job.late("three", 100) and not job.late("four")
    assert records(job.path)[0]["left_out"].endswith("s left of 10")
