"""Fuzz everything that reads a file or an option: whatever it is handed ends in a result or one clear line.

    python scripts/fuzz.py [--only READER ...] [--runs N | --minutes M] [--seed S] [--engine random|atheris]
                           [--corpus FOLDER] [--findings FOLDER]
    python scripts/fuzz.py --replay FILE

Valid files are changed (tokens, lines, numbers, bits, splices of two), and each is given to its reader in a forked
process with 5 s of CPU and 2 GB of memory. A DarknetError of one printable line refuses an input, which is as good as a
result; anything else is a finding: another exception, a crash, the end of one of the limits. Findings are told apart by
their kind and the deepest frame in darknet_py; the first input of each is saved as FOLDER/READER/HASH, with what
happened in HASH.txt, and --replay shows it again.

--minutes is shared by the readers. --corpus FOLDER has further inputs to begin with, in folders that are named as the
readers. The engine atheris (pip install ".[fuzz]") looks for inputs that reach new lines of darknet_py.

Prints a line a reader. Exit status 1 if something was found.
"""
from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import os
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fuzzing.engines import Tally

MEMORY = "/dev/shm"     # a folder in memory, where there is one: a disk takes ten times as long for a small file
RUNS = 1000             # inputs of a reader, where neither their number nor a time is given
ENGINES = ("random", "atheris")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--only", nargs="+", metavar="READER", help="these readers alone")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--runs", type=int, metavar="N", help=f"inputs a reader (default {RUNS})")
    length.add_argument("--minutes", type=float, metavar="M", help="for all readers together")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the mutations (default 0)")
    parser.add_argument("--engine", choices=ENGINES, default=ENGINES[0])
    parser.add_argument("--corpus", type=Path, metavar="FOLDER", help="further inputs to begin with, FOLDER/READER/*")
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"), metavar="FOLDER",
                        help="where inputs go that found something (default fuzz-findings)")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="give its reader one such input, and show what "
                        "happens")
    options = parser.parse_args(arguments)
    with instrumented(parser, options.engine):
        from fuzzing.readers import READERS
    if options.replay is not None:
        return replay(parser, options.replay.absolute())
    chosen = list(READERS) if options.only is None else options.only
    if unknown := [name for name in chosen if name not in READERS]:
        parser.error(f"expected readers ({', '.join(READERS)}), found {unknown[0]}")
    if (options.runs is not None and options.runs < 0) or (options.minutes is not None and options.minutes <= 0):
        parser.error("expected --runs of 0 or more inputs, or --minutes above 0")
    if options.corpus is not None and not options.corpus.is_dir():
        parser.error(f"--corpus {options.corpus}: no such folder")
    folder, corpus = options.findings.absolute(), None if options.corpus is None else options.corpus.absolute()
    seconds = None if options.minutes is None else 60 * options.minutes / len(chosen)
    runs = RUNS if options.runs is None and seconds is None else options.runs
    print(f"{'reader':<20}{'inputs':>10}{'a second':>10}{'results':>10}{'refusals':>10}{'findings':>10}", flush=True)
    tallies = {}
    with workplace():
        for name in chosen:
            tallies[name] = tally = run(name, corpus, options.engine, options.seed, runs, seconds)
            report(name, tally, folder / name)
    total = sum(tally.inputs for tally in tallies.values())
    found = sum(len(tally.found) for tally in tallies.values())
    print(f"{total:,} inputs in {sum(tally.seconds for tally in tallies.values()):.0f} s, {found} findings")
    return int(found > 0)


@contextlib.contextmanager
def instrumented(parser: argparse.ArgumentParser, engine: str) -> Iterator[None]:
    """Imports of darknet_py, with probes of what is covered where the engine asks for them."""
    with contextlib.ExitStack() as stack:
        if engine == "atheris":
            try:
                import atheris
            except ImportError:
                parser.error('--engine atheris needs the package atheris: pip install ".[fuzz]"')
            stack.enter_context(contextlib.redirect_stderr(io.StringIO()))      # for it names every module
            stack.enter_context(atheris.instrument_imports(include=["darknet_py"], enable_loader_override=False))
        yield


@contextlib.contextmanager
def workplace() -> Iterator[None]:
    """A working directory with the files that inputs name, deep enough that ../.. is none of the user's folders."""
    import cv2
    import torch
    from fuzzing.seeds import furnish
    torch.set_num_threads(1)            # threads do not survive a fork
    cv2.setNumThreads(1)
    before = os.getcwd()
    with tempfile.TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else None) as folder:
        place = Path(folder, "a/b/c/d")
        furnish(place)
        os.chdir(place)
        try:
            yield
        finally:
            os.chdir(before)


def run(name: str, corpus: Path | None, engine: str, seed: int, runs: int | None, seconds: float | None) -> Tally:
    """Fuzz one reader in the working directory."""
    from fuzzing.engines import ENGINES, fuzz
    from fuzzing.mutate import Mutator
    from fuzzing.readers import READERS
    reader = READERS[name]
    more = [] if corpus is None else sorted(path for path in (corpus / name).glob("*") if path.suffix != ".txt")
    inputs = [*reader.seeds(), *(path.read_bytes() for path in more)]
    return fuzz(reader, Mutator(inputs, reader.binary), ENGINES[engine], seed, runs, seconds)


def report(name: str, tally: Tally, folder: Path) -> None:
    """Print a reader's line and its findings, and save these."""
    results = tally.inputs - tally.refusals - tally.faulty
    print(f"{name:<20}{tally.inputs:>10,}{tally.inputs / max(1e-9, tally.seconds):>10,.0f}{results:>10,}"
          f"{tally.refusals:>10,}{len(tally.found):>10,}", flush=True)
    for finding, (data, details) in tally.found.items():
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / hashlib.sha256(data).hexdigest()[:12]
        path.write_bytes(data)
        again = f"python scripts/fuzz.py --replay {shlex.quote(str(path))}"
        path.with_suffix(".txt").write_text(f"{finding}\n{again}\n\n{details}", "utf-8", "backslashreplace")
        print(f"    {finding}\n        {again}", flush=True)


def replay(parser: argparse.ArgumentParser, path: Path) -> int:
    """Give an input to the reader that its folder names, in this process. Returns 1 for a finding."""
    from fuzzing.judge import judge, limits
    from fuzzing.readers import READERS
    reader = READERS.get(path.parent.name)
    if reader is None or not path.is_file():
        parser.error(f"--replay {path}: expected a file in a folder of the name of a reader ({', '.join(READERS)})")
    data = path.read_bytes()
    with workplace():
        reader.seeds()
        with limits():
            verdict = judge(reader, data)
    print(verdict.details or ("a refusal" if verdict.refused else "a result"))
    if verdict.finding is not None:
        print(verdict.finding)
    return int(verdict.finding is not None)


if __name__ == "__main__":
    sys.exit(main())
