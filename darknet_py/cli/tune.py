"""Search for better hyper-parameters of a cfg, by a genetic algorithm over short trials.

Into the data file's backup folder go NAME_tuned.cfg, the best cfg so far; NAME_trials.csv and NAME_trials.png, all
trials; and NAME_study.log. An interrupted search resumes with the same command. It needs the package optuna.
"""
from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from darknet_py.cli.detect import device
from darknet_py.cli.model import CFG, cfg_of
from darknet_py.cli.progress import Progress

if TYPE_CHECKING:
    from darknet_py.training.tune import Trial, Tuning


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", help="a .data file; trials are scored on its valid pictures")
    parser.add_argument("cfg", help=CFG)
    parser.add_argument("weights", nargs="?", help="weights that each trial starts from, such as yolov4.conv.137")
    parser.add_argument("--trials", type=int, default=50, metavar="N", help="trials in all (default 50)")
    parser.add_argument("--population", type=int, default=10, metavar="N", help="trials of a generation (default 10)")
    parser.add_argument("--share", type=float, default=.1, metavar="PART", help="of max_batches that a trial takes "
                        "(default .1; longer where it would end before burn_in= does)")
    parser.add_argument("--iterations", type=int, metavar="N", help="of a trial, instead of -share")
    parser.add_argument("--params", metavar="A,B,C", help="the keys to tune (default: all that can be)")
    parser.add_argument("--clear", action="store_true", help="forget the trials of an earlier call")
    parser.add_argument("--seed", type=int, default=0, help="of the search and of each trial (default 0)")
    parser.add_argument("--iou-thresh", type=float, default=.5, help="of the mAP that scores a trial (default .5)")
    parser.add_argument("--points", type=int, default=0, help="of that mAP (default 0, the area under the curve)")
    parser.add_argument("--i", type=int, metavar="N", help="the GPU to use; -1 for none")
    parser.add_argument("--device", help="auto, cpu, cuda, cuda:0 ... (default auto)")
    parser.add_argument("--workers", type=int, metavar="N", help="processes that load pictures")
    parser.add_argument("--amp", default="off", choices=["off", "bf16", "fp16"], help="mixed precision (default off)")
    parser.add_argument("--backup", metavar="FOLDER", help="where results go (default: what the data file says)")
    parser.add_argument("--strict", action="store_true", help="what Darknet would pass over in the cfg is an error")


def run(arguments: argparse.Namespace) -> int:
    from darknet_py.errors import one_line, printable
    from darknet_py.training.events import Iteration, Note, Saved
    from darknet_py.training.settings import Settings
    from darknet_py.training.tune import Trial, Tuning
    from darknet_py.utils.memory import keep_memory
    keep_memory()
    tuning = Tuning(arguments.data, cfg_of(arguments), arguments.weights, Settings(
        clear=arguments.clear, iou_thresh=arguments.iou_thresh, points=arguments.points, device=device(arguments),
        seed=arguments.seed, workers=arguments.workers, amp=arguments.amp, backup=arguments.backup,
        stop_after=arguments.iterations), trials=arguments.trials, population=arguments.population,
        share=arguments.share, keys=None if arguments.params is None else arguments.params.split(","))
    with Progress(arguments.trials * tuning.iterations, sys.stderr if sys.stderr.isatty() else sys.stdout,
                  lines=sys.stdout, start=len(tuning.done) * tuning.iterations) as progress:
        progress.print(f"{arguments.trials} trials of {tuning.iterations} iterations, {len(tuning.done)} of them done, "
                       f"for {len(tuning.ranges)} values: {', '.join(r.key for r in tuning.ranges)}; trial 1 has the "
                       "cfg's own")
        for event in tuning:
            done = len(tuning.done)
            if isinstance(event, Iteration):
                progress.update(done * tuning.iterations + event.iteration,
                                f"trial {done + 1} of {arguments.trials}, loss {event.average:.4g}")
            elif isinstance(event, Trial):
                progress.print(one_line(trial_line(event, tuning)))
            elif isinstance(event, Saved):
                progress.print(printable(f"saved {event.path}"))
            elif isinstance(event, Note):
                progress.print(one_line(event.text))
    for line in summary(tuning):
        print(line)
    return 0


def trial_line(trial: Trial, tuning: Tuning) -> str:
    """The line printed for a trial."""
    from darknet_py.training.search_space import text_of
    best = tuning.done[trial.best - 1]
    values = " ".join(f"{key}={text_of(value)}" for key, value in trial.values.items())
    return (f"trial {trial.number}: {trial.measure} = {trial.score * 100:.2f} %, best = {best.score * 100:.2f} % "
            f"(trial {best.number}); {values}" + (f"; {trial.trouble}" if trial.trouble else ""))


def summary(tuning: Tuning) -> list[str]:
    """The result: scores, and the best values beside the cfg's own."""
    from darknet_py.training.search_space import text_of
    best, first = tuning.best, tuning.done[0]
    if best is None or best.score == 0:
        return [f"no trial scored above 0: {tuning.iterations} iterations are too few (-iterations, -share)"]
    lines = [f"{len(tuning.done)} trials of {tuning.iterations} iterations: {best.measure} = {best.score * 100:.2f} % "
             f"in trial {best.number}, {first.score * 100:.2f} % with the cfg's own values"]
    return lines + [f"{r.key:<18}{text_of(r.own):>12} -> {text_of(best.values[r.key])}" for r in tuning.ranges
                    if best.number > 1]
