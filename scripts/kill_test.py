"""Kill commands at random moments, and see that nothing is lost.

    python scripts/kill_test.py [--moments N] [--only training,convert,...] [--seed S] [--commands WORD] [--verbose]

Training, conversion, detection and the other commands that write run on a tiny network and six pictures, over the
results of an earlier run. Each is killed before one of its operations on files (a write is cut in half), a few
milliseconds after one, or after a random time. Then every file must be whole: as it was, or as the command makes it.
The command is typed again, and must end as if nothing had happened: with the same files, to the last bit where they
have no times in them, with nothing left over. Training must go on from its last state, and end with the weights of a
run that was not killed.

Prints a line a loss, with --verbose a line a kill, and the sums; exit status 1 if anything was lost. The processes are
forks of this one, which has imported everything; Windows cannot do that.
"""
from __future__ import annotations

import argparse
import gc
import http.server
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import cv2
import torch
from killing.cases import Case, cases, make_download, make_files
from killing.operations import Moment, Outcome, run
from killing.whole import Files, check, check_pair, check_restart, snapshot

from darknet_py.training import checkpoint

PARTS = ("training", "convert", "detect", "batch", "evaluate", "edit", "prepare", "tools", "download")
TRAINING_SHARE = .4             # of the moments
LATE = ("matplotlib.backends.backend_agg", "matplotlib.figure", "torch.fx.experimental.symbolic_shapes")     # imports


class Prepared(NamedTuple):
    """A case that ran once without a kill. start: the files before it, in a folder. after: those at its end."""

    case: Case
    start: Path
    before: Files
    after: Files
    whole: Outcome


class Sums(NamedTuple):
    """Over all kills."""

    operations: Counter
    kills: Counter
    wrong: list[str]


def serve(folder: Path) -> tuple[int, int]:
    """Serve a folder's files from a process of its own: the port, and the process."""
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    child = os.fork()
    if child == 0:
        try:
            server.serve_forever()
        finally:
            os._exit(0)
    port = server.server_address[1]
    server.server_close()
    return port, child


def prepare(case: Case, template: Path, work: Path, number: int) -> Prepared:
    """Run the earlier command of a case, and then the command itself, without a kill."""
    place, start = work / "run", work / f"start-{number}"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(template, place)
    if case.earlier:
        made = run(case.earlier, place)
        if made.status != 0:
            raise SystemExit(f"kill_test: {' '.join(case.earlier)}: ended with {made.status}:\n{made.text}")
    shutil.copytree(place, start)
    before = snapshot(place)
    whole = run(case.words, place)
    if whole.status != 0:
        raise SystemExit(f"kill_test: {case.name}: ended with {whole.status}:\n{whole.text}")
    return Prepared(case, start, before, snapshot(place), whole)


def choose(ready: Prepared, rng: random.Random) -> Moment:
    """A random moment: at an operation, shortly after one, or at a time."""
    kind, count = rng.random(), len(ready.whole.operations)
    if kind < .65:
        return Moment(at=rng.randint(1, count))
    if kind < .85:
        return Moment(at=rng.randint(1, count), delay=rng.expovariate(200))
    return Moment(delay=rng.uniform(0, ready.whole.seconds))


def kill_once(ready: Prepared, place: Path, moment: Moment, sums: Sums, verbose: bool) -> None:
    """Kill a command at a moment, look at its files, type it again, and look again."""
    case = ready.case
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(ready.start, place)
    outcome = run(case.words, place, moment)
    known = (ready.before, ready.after)
    found = check(place, known, (*case.varies, *case.passing), case.partial, True)
    wrong = list(found.wrong) + check_pair(place, known)
    state = checkpoint.find(place / "backup/tiny_last.weights")
    saved = 0 if state is None or case.earlier else checkpoint.facts(state)["iteration"]
    again = run(case.words, place)
    if again.status != 0 and "already" not in again.text:
        wrong.append(f"the same command ends with {again.status}: {again.text.strip()[-300:]}")
    end = check(place, (ready.after,), case.varies, case.partial, False)
    wrong += end.wrong + check_pair(place, (ready.after,))
    there = snapshot(place)
    # a run that was killed after its last state draws no more pictures for its report
    undrawn = "12 iterations are done" in again.text
    wrong += [f"{name}: missing at the end" for name in ready.after
              if name not in there and not (undrawn and "tiny_report" in name)]
    if case.part == "training":
        wrong += check_restart(place, saved, again.text, not case.earlier)
        wrong += [f"{name}: other weights at the end" for name in ready.after
                  if name.endswith(".weights") and "previous" not in name and there.get(name) != ready.after[name]]
    if case.keeps:
        contents = set(there.values())
        wrong += [f"{name}: lost" for name, data in ready.before.items() if data not in contents]
    did = outcome.operations[-1] if outcome.operations else "start"
    sums.operations[did if moment.at is not None else "time"] += 1
    sums.kills["killed"] += outcome.killed
    sums.kills["ended before"] += not outcome.killed
    sums.kills["whole"] += found.whole + end.whole
    sums.kills["left"] += len(found.left)
    sums.kills["kills that left something"] += bool(found.left)
    sums.wrong.extend(f"{case.name}, {text_of(moment, outcome)}: {line}" for line in wrong)
    if verbose or wrong:
        print(f"{'LOST' if wrong else 'ok  '} {case.name}: {text_of(moment, outcome)}; {found.whole} files whole, "
              f"{len(found.left)} left and swept" + "".join(f"\n     {line}" for line in wrong), flush=True)


def text_of(moment: Moment, outcome: Outcome) -> str:
    """A moment in words."""
    did = f"operation {len(outcome.operations)} ({outcome.operations[-1] if outcome.operations else 'none yet'})"
    if not outcome.killed:
        return f"not killed, it ended with {outcome.status}"
    if moment.at is None:
        return f"killed after {moment.delay:.2f} s, {did} done"
    return f"killed at {did}" if moment.delay is None else f"killed {1000 * moment.delay:.1f} ms after " \
        f"operation {moment.at}, {did} done"


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moments", type=int, default=50, metavar="N", help="how many kills (default %(default)s)")
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(PARTS), metavar="PART,...",
                        help=f"some of {','.join(PARTS)}")
    parser.add_argument("--seed", type=int, default=0, help="another number, other moments (default %(default)s)")
    parser.add_argument("--commands", metavar="WORD", help="only commands that have this word in them")
    parser.add_argument("--verbose", action="store_true", help="a line for each kill, not only for losses")
    given = parser.parse_args(words)
    if unknown := set(given.only) - set(PARTS):
        parser.error(f"--only: expected some of {', '.join(PARTS)}, found {', '.join(sorted(unknown))}")
    if given.moments < 1:
        parser.error("--moments needs a number from 1 on")
    torch.set_num_threads(1)        # before any work, so that forks need no threads of this process
    cv2.setNumThreads(0)
    for module in LATE:             # else each fork imports what training needs from its first step on
        import_module(module)
    gc.freeze()
    rng, begin = random.Random(given.seed), time.monotonic()
    sums = Sums(Counter(), Counter(), [])
    with tempfile.TemporaryDirectory(prefix="kill_test_") as folder:
        work = Path(folder).resolve()
        make_files(work / "template")
        make_download(work / "template", work / "served")
        port, server = serve(work / "served")
        try:
            chosen = [case for case in cases(port) if case.part in given.only
                      and (given.commands is None or given.commands in case.name)]
            if not chosen:
                parser.error("no command is left")
            for ready, count in shared(chosen, given.moments, rng, work):
                for _ in range(count):
                    kill_once(ready, work / "run", choose(ready, rng), sums, given.verbose)
        finally:
            os.kill(server, signal.SIGKILL)
            os.waitpid(server, 0)
    kinds = ", ".join(f"{kind} {count}" for kind, count in sums.operations.most_common())
    print(f"{sums.kills['killed']} kills ({sums.kills['ended before']} commands ended before), at: {kinds}")
    print(f"{sums.kills['whole']} files looked at and whole; {sums.kills['kills that left something']} kills left "
          f"{sums.kills['left']} files, all swept by the next run; {len(sums.wrong)} losses; "
          f"{time.monotonic() - begin:.0f} s")
    return int(bool(sums.wrong))


def shared(chosen: list[Case], moments: int, rng: random.Random, work: Path) -> list[tuple[Prepared, int]]:
    """The cases, each run once, and how many moments each gets: training its share, the others by turns."""
    training = [case for case in chosen if case.part == "training"]
    others = [case for case in chosen if case.part != "training"]
    rng.shuffle(others)
    most = moments if not others else round(TRAINING_SHARE * moments) if training else 0
    turns = Counter(training[number % len(training)] for number in range(most))
    turns.update(others[number % len(others)] for number in range(moments - most))
    return [(prepare(case, work / "template", work, number), count)
            for number, (case, count) in enumerate(turns.items())]


if __name__ == "__main__":
    sys.exit(main())
