"""benchmark.py batch: memory of two small runs, and what it refuses."""
import argparse
import json
from pathlib import Path

import benchmark
import pytest
from benchmarks.batch import linked, size_of


def test_memory(tiny, capsys):
    """A tiny network, so that the pictures count."""
    code = benchmark.main(["batch", "--cfgs", "tiny.cfg", "--parts", "memory", "--counts", "2,3", "--backend",
                           "pytorch", "--json", "all.json"])
    found, = json.loads(Path("all.json").read_text())["results"]
    assert code == 0 and [row["pictures"] for row in found["rows"]] == [2, 3]
    assert all(row["peak_bytes"] > 1e7 and row["images_per_second"] > 0 for row in found["rows"])
    assert "2 pictures" in capsys.readouterr().out


def test_links(workdir):
    Path("a.jpg").write_bytes(b"a")
    folder = linked([Path("a.jpg")], 1001, Path("many"))
    assert [len(list(one.iterdir())) for one in sorted(folder.iterdir())] == [1000, 1]
    assert size_of("160x120") == (160, 120)
    with pytest.raises(argparse.ArgumentTypeError):
        size_of("160")


@pytest.mark.parametrize("words", [["--parts", "nothing"], ["--count", "0"], ["--counts", "1,x"]])
def test_it_refuses(words):
    with pytest.raises(SystemExit, match="benchmark: "):
        benchmark.main(["batch", *words])
