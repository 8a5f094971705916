"""The scripts that train and measure: benchmark.py and ablation.py."""
import json
from pathlib import Path

import ablation
import benchmark
import mutants
import pytest

from darknet_py.cfg.language import read_cfg
from darknet_py.model.network import load_network
from darknet_py.training.trainer import Run

TRAIN = ["train", "--data", "tiny.data", "--cfg", "tiny.cfg", "--device", "cpu", "--workers", "0", "--iterations", "3",
         "--warmup", "1", "--loading", ".01", "--loaders", "0"]
ABLATE = ["--data", "tiny.data", "--cfg", "tiny.cfg", "--device", "cpu", "--workers", "0", "--iterations", "3"]
C = """#!/bin/sh
test -f "$(sed -n s/^train=//p "$3")" -a "$1 $2 $5" = "detector train -dont_show" || exit 1
for i in 1 2 3 4 5 6 7 8 9; do printf 'Loaded: 0.500000 seconds - performance bottleneck on CPU or Disk HDD/SSD
\\033[H\\033[J9/99: loss=1.0 hours left=0.1\\a
 %d: 1.0, 1.0 avg loss, 0.1 rate, %d.000000 seconds, 40 images, 0.1 hours left\\n' $i $i; done
exec sleep 60
"""


def test_benchmark_of_training(tiny, capsys):
    assert benchmark.main([*TRAIN, "--c", "100"]) == 0
    text = capsys.readouterr().out
    assert "median of 3 iterations" in text and "wait for data" in text
    assert "100.0000 seconds an iteration, as given" in text and "times as long" in text
    assert "the loader alone, 0 workers:" in text and not Path("backup").exists()


def test_benchmark_beside_c(tiny, capsys, monkeypatch):
    """The C program runs where its data lie; waiting for data counts."""
    program = Path("darknet")
    program.write_text(C)
    program.chmod(0o755)
    assert benchmark.main([*TRAIN, "--darknet", "darknet", "--runs", "2"]) == 0
    text = capsys.readouterr().out
    assert "median of 6 iterations" in text and "3.5000 seconds an iteration (2.5000 to 4.5000)" in text
    program.write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(SystemExit, match="printed no line of an iteration"):
        benchmark.main([*TRAIN, "--darknet", "darknet"])


def test_benchmark_of_evaluation(tiny, capsys):
    load_network("tiny.cfg").save_weights("tiny.weights")
    program = Path("darknet")
    program.write_text("#!/bin/sh\ntest \"$1 $2\" = 'detector map' -a -f \"$5\"\n")
    program.chmod(0o755)
    words = ["evaluate", "--data", "tiny.data", "--cfg", "tiny.cfg", "--weights", "tiny.weights", "--runs", "1"]
    assert benchmark.main([*words, "--darknet", "darknet"]) == 0
    text = capsys.readouterr().out
    assert "6 images" in text and text.count("images a second") == 3 and text.count("outside the network") == 2
    program.write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(SystemExit, match=r"detector map .* ended with 3"):
        benchmark.main([*words, "--darknet", "darknet"])


@pytest.mark.parametrize("words", [["--cfg", "no.cfg"], ["--darknet", "no"], ["--iterations", "0"]])
def test_benchmark_refuses(tiny, words, capsys):
    with pytest.raises(SystemExit):
        benchmark.main([*TRAIN, *words])
    assert "error: " in capsys.readouterr().err


def test_rows_of_the_ablation(tiny):
    """A row changes what it says, and nothing else."""
    cfg = read_cfg("tiny.cfg")
    values = {}
    for row in ablation.ROWS:
        network = load_network(ablation.variant(cfg, row, 100, .99))
        head, net = network.layers[-1].options, network.options
        assert net.max_batches == 100 and net.steps == (80, 90)
        values[row] = {"iou_loss": head.iou_loss, "iou_normalizer": head.iou_normalizer, "iou_thresh": head.iou_thresh,
                       "scale_x_y": head.scale_x_y, "mosaic": net.mosaic, "policy": net.policy,
                       "ema_alpha": net.ema_alpha, "label_smooth_eps": head.label_smooth_eps}
    base = values.pop("baseline")
    assert base == {"iou_loss": "mse", "iou_normalizer": .75, "iou_thresh": 1, "scale_x_y": 1, "mosaic": 0,
                    "policy": "steps", "ema_alpha": 0, "label_smooth_eps": 0}
    together = values.pop("all together")
    assert all(together[key] != base[key] for key in base)
    changes = [[key for key in base if row[key] != base[key]] for row in values.values()]
    assert sorted(key for keys in changes for key in keys) == sorted(base)
    assert all(together[key] == row[key] for row, keys in zip(values.values(), changes, strict=True) for key in keys)


def test_ablation_goes_on(tiny, capsys, monkeypatch):
    words = [*ABLATE, "--only", "baseline,EMA", "--seeds", "0,1"]
    trained, iterate = [], Run.__iter__

    def stopped(run):
        if len(trained) == 3:
            raise KeyboardInterrupt
        trained.append((run.network.options.ema_alpha, run.seed))
        return iterate(run)

    monkeypatch.setattr(Run, "__iter__", stopped)
    with pytest.raises(KeyboardInterrupt):
        ablation.main(words)
    assert "| + average of weights (EMA) |" in Path("ablation.md").read_text()
    monkeypatch.setattr(Run, "__iter__", lambda run: (trained.append((run.network.options.ema_alpha, run.seed)),
                                                      iterate(run))[1])
    assert ablation.main(words) == 0 and trained == [(0, 0), (.99, 0), (0, 1), (.99, 1)]
    assert capsys.readouterr().out.strip() == Path("ablation.md").read_text().strip()
    done = json.loads(Path("ablation.json").read_text())["rows"]
    base = [done["baseline"][seed]["score"] for seed in "01"]
    row = Path("ablation.md").read_text().splitlines()[4]
    assert row.startswith(f"| baseline | {50 * sum(base):.2f} % | {100 * min(base):.2f} % | {100 * max(base):.2f} % |")
    assert not Path("backup").exists()
    with pytest.raises(SystemExit, match=r"another ablation \(other: ema_alpha\)"):
        ablation.main([*words, "--ema-alpha", ".5"])


@pytest.mark.parametrize("words", [["--only", "nothing"], ["--iterations", "0"]])
def test_ablation_refuses(tiny, words, capsys):
    with pytest.raises(SystemExit):
        ablation.main([*ABLATE, *words])
    assert "expected" in capsys.readouterr().err


def test_mutants(tmp_path):
    """One a place, of what is computed: not of annotations, and not of ``strict=``."""
    pytest.importorskip("cosmic_ray")
    code = tmp_path / "code.py"
    code.write_text("from __future__ import annotations\n\n\ndef added(a: int | None, b) -> int | str:\n"
                    "    return sum(x + 1 for x, _ in zip(a, b, strict=True))\n")
    found = mutants.sample(code, 9, seed=1)
    assert [mutant.number for mutant in found] == [5, 5]                        # of + and of 1
    assert all(mutant.text.count("int | None") == mutant.text.count("strict=True") == 1 for mutant in found)
    assert found == mutants.sample(code, 9, seed=1) and len(mutants.sample(tmp_path, 1, seed=1)) == 1
