"""scaling.py: each case at toy sizes, exponents, bounds, the table in a page."""
import json
from pathlib import Path

import pytest
import scaling
from growth.cases import CASES, Outside, boxes_of
from growth.measure import measure
from growth.report import BEGINS, ENDS, exponents, is_worse_than_linear, put_table, table


@pytest.mark.parametrize("case", [case for case in CASES if not case.name.startswith("batch")],
                         ids=lambda case: case.name)
def test_cases_run(case, workdir):
    if "ByteTrack" in case.name:
        pytest.importorskip("trackers")
    found = case.build(case.toy[0], Path())()
    assert not isinstance(found, Outside)
    assert list(case.sizes) == sorted(case.sizes) and len(case.sizes) > 2


@pytest.mark.rendered
def test_a_run(workdir, capsys):
    """Two rows, each size in a process of its own; the JSON gives the same table once more."""
    Path("page.md").write_text(f"before\n{BEGINS}\nold\n{ENDS}after\n")
    words = ["--page", "page.md", "--plot", "plot.png"]
    assert scaling.main(["--toy", "--only", "edit,resize", "--json", "all.json", *words]) == 0
    page, said = Path("page.md").read_text(), capsys.readouterr().out
    assert "old" not in page and page.startswith("before\n") and page.endswith("after\n")
    assert "| edit each section | sections: 10, 20, 40 |" in page and "resize 20 lines" in said
    assert Path("plot.png").stat().st_size > 5000
    rows = [row for result in json.loads(Path("all.json").read_text())["results"] for row in result["rows"]]
    assert len(rows) == 6 and all(row["seconds"] > 0 and row["bytes"] >= 0 for row in rows)
    assert scaling.main(["--from", "all.json", "all.json", *words]) == 0
    assert Path("page.md").read_text() == page and "Worse than linear" in capsys.readouterr().out


def test_batch_counts_processes_that_it_starts(workdir):
    found = measure("batch", 3, 120, 8)
    assert "problem" not in found and found["seconds"] > .3 and found["bytes"] > 1e7
    assert found["pictures_per_second"] > 0 and found["output_bytes"] > 0


@pytest.mark.parametrize("name, size, seconds, gigabytes, problem", [
    ("edit each section", 10, .01, 8, "more than 0.01 s"), ("read a list, paths", 10 ** 6, 60, .03, "")])
def test_bounds(name, size, seconds, gigabytes, problem, workdir):
    found = measure(name, size, seconds, gigabytes)
    assert found["problem"].startswith(problem) and "seconds" not in found


def test_exponents():
    rows = [{"size": size, "seconds": 1 + size ** 2 / 1e4, "bytes": 5e6} for size in (10, 100, 1000, 10_000)]
    fitted, last = exponents(rows, "seconds")
    assert 1 < fitted < 2 and last == pytest.approx(2, abs=.01)             # the constant matters least at the end
    assert exponents(rows, "bytes") == pytest.approx((0, 0), abs=1e-9)
    assert is_worse_than_linear((fitted, last)) and not is_worse_than_linear((.9, 1.1))
    assert exponents([{"size": 10, "seconds": 1e-6}, {"size": 20, "problem": "more than 1 s"}], "seconds") is None
    rows.append({"size": 10 ** 5, "problem": "more than 1 s"})
    assert "more than 1 s | **" in table([{"name": "parse", "rows": rows}])


@pytest.mark.parametrize("pattern", ["apart", "spread", "heaps"])
def test_boxes(pattern):
    assert boxes_of(1000, pattern).shape == (1000, 4)


@pytest.mark.parametrize("words, problem", [(["--only", "nothing"], "beginning of a name"),
                                            (["--from", "none.json"], "no such file"),
                                            (["--page", "none.md", "--toy"], "no such file")])
def test_it_refuses(words, problem, workdir, capsys):
    with pytest.raises(SystemExit):
        scaling.main(words)
    assert problem in capsys.readouterr().err


def test_a_page_without_marks(workdir):
    Path("page.md").write_text("no marks\n")
    with pytest.raises(SystemExit, match="expected the heading"):
        put_table(Path("page.md"), "table")
