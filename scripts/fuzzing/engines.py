"""Engines: mutated inputs for a reader in a forked process, under limits of time and memory, until one ends it."""
from __future__ import annotations

import contextlib
import faulthandler
import gc
import json
import mmap
import os
import re
import signal
import struct
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import BinaryIO

import torch

from fuzzing.judge import PACKAGE, Verdict, judge, limit_memory, start_clocks
from fuzzing.mutate import MOST_BYTES, Mutator
from fuzzing.readers import Reader

AT_ONCE = 20_000            # inputs of a process, whose memory is new with the next one
RECORD = struct.Struct("<QQQQ")         # inputs, refusals, findings, bytes of the last input
ENDINGS = {signal.SIGPROF: "the limit of CPU", signal.SIGALRM: "the limit of waiting"}
IN_DUMP = re.compile(r'File "([^"]+)", line (\d+) in (.*)')


@dataclass
class Tally:
    """What a reader made of its inputs. faulty: those that found something. found: one of them, and the details, of
    each finding."""

    inputs: int = 0
    refusals: int = 0
    faulty: int = 0
    seconds: float = 0
    found: dict[str, tuple[bytes, str]] = field(default_factory=dict)


class Record:
    """Memory that a forked process shares: how far it is, and its last input, should that be the end of it."""

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, RECORD.size + MOST_BYTES)

    def write(self, inputs: int, refusals: int, faulty: int, data: bytes) -> None:
        RECORD.pack_into(self.memory, 0, inputs, refusals, faulty, len(data))
        self.memory[RECORD.size:RECORD.size + len(data)] = data

    def read(self) -> tuple[int, int, int, bytes]:
        inputs, refusals, faulty, size = RECORD.unpack_from(self.memory)
        return inputs, refusals, faulty, self.memory[RECORD.size:RECORD.size + size]


class Watched:
    """Judges inputs in the forked process, and tells the other one of findings that are new."""

    def __init__(self, reader: Reader, record: Record, pipe: BinaryIO):
        self.reader, self.record, self.pipe, self.known = reader, record, pipe, set[str]()
        self.inputs, self.refusals, self.faulty, _ = record.read()

    def __call__(self, data: bytes) -> None:
        data = data[:MOST_BYTES]
        self.inputs += 1
        self.record.write(self.inputs, self.refusals, self.faulty + 1, data)    # so it stands if this is the end
        start_clocks()
        verdict = judge(self.reader, data)
        start_clocks(0, 0)
        self.faulty += verdict.finding is not None
        self.refusals += verdict.refused and verdict.finding is None
        self.record.write(self.inputs, self.refusals, self.faulty, b"")
        if verdict.finding is not None and verdict.finding not in self.known:
            self.known.add(verdict.finding)
            self.tell(verdict, data)

    def tell(self, verdict: Verdict, data: bytes) -> None:
        self.pipe.write(json.dumps([verdict.finding, data.hex(), verdict.details]).encode() + b"\n")
        self.pipe.flush()


Engine = Callable[[Watched, Mutator, int, int, float], None]


def fuzz(reader: Reader, mutator: Mutator, engine: Engine, seed: int, runs: int | None, seconds: float | None) -> Tally:
    """Fuzz a reader in the working directory.

    Args:
        engine: gives inputs to what judges them, from a number on up to another, until a time.
        runs: how many inputs, and ``seconds`` how long; None for no such end.
    """
    tally, record, begin = Tally(), Record(), time.monotonic()
    until = float("inf") if seconds is None else begin + seconds
    last = sys.maxsize if runs is None else runs
    with tempfile.TemporaryFile() as dump:
        while tally.inputs < last and (time.monotonic() < until or not tally.inputs):
            now = min(last, tally.inputs + AT_ONCE)
            ending = _forked(reader, record, mutator, engine, seed, now, until, tally, dump)
            tally.inputs, tally.refusals, tally.faulty, data = record.read()
            if ending is not None:
                tally.found.setdefault(ending[0], (data, ending[1]))
    tally.seconds = time.monotonic() - begin
    return tally


def _forked(reader: Reader, record: Record, mutator: Mutator, engine: Engine, seed: int, last: int, until: float,
            tally: Tally, dump: BinaryIO) -> tuple[str, str] | None:
    """Fuzz in a forked process. Returns the finding and its details where an input ended that process."""
    inward, outward = os.pipe()
    dump.seek(0)
    dump.truncate()
    gc.freeze()                 # what is there is not looked at again, so its memory stays shared
    process = os.fork()
    if process == 0:
        status = 70
        try:
            os.close(inward)
            _prepare(dump)
            with os.fdopen(outward, "wb") as pipe:
                engine(Watched(reader, record, pipe), mutator, seed, last, until)
            status = 0
        except BaseException:
            faulthandler.dump_traceback(dump)
            raise
        finally:
            os._exit(status)
    os.close(outward)
    with os.fdopen(inward, "rb") as pipe:
        for line in pipe:
            finding, data, details = json.loads(line)
            tally.found.setdefault(finding, (bytes.fromhex(data), details))
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    if status == 0:
        return None
    dump.seek(0)
    details = dump.read().decode("utf-8", "replace")
    how = ENDINGS.get(-status, signal.Signals(-status).name) if status < 0 else f"exit status {status}"
    return f"{how} in {_place(details, -status in ENDINGS)}", details


def _prepare(dump: BinaryIO) -> None:
    """Limits, silence, and a traceback in the file if a signal is the end."""
    limit_memory()
    faulthandler.enable(dump)
    for number in ENDINGS:
        faulthandler.register(number, dump, chain=True)
    silent = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(silent, number)
    warnings.simplefilter("ignore")
    with contextlib.suppress(RuntimeError):         # PyTorch's pool of threads is lost once in a forked process
        torch.set_num_threads(1)


def _place(dump: str, outermost: bool) -> str:
    """The deepest frame in darknet_py of a dump, in the thread that has one; or the outermost but for the command line,
    for where the time goes differs from run to run."""
    frames = IN_DUMP.findall(dump)
    inside = [frame for frame in frames if Path(frame[0]).is_relative_to(PACKAGE)]
    functions = [frame for frame in inside if "cli" not in Path(frame[0]).parts] if outermost else inside
    for path, line, name in (functions or inside or frames)[-1 if outermost else 0:][:1]:
        return f"{os.path.relpath(path, PACKAGE.parent)}:{line} {name}"
    return "an unknown place"


def random_engine(judged: Watched, mutator: Mutator, seed: int, last: int, until: float) -> None:
    """The corpus, then mutations, each of which is a function of the seed and its number."""
    for number in range(judged.inputs, last):
        if number and time.monotonic() >= until:
            break
        judged(mutator.corpus[number] if number < len(mutator.corpus) else mutator(Random(f"{seed}/{number}")))


def atheris_engine(judged: Watched, mutator: Mutator, seed: int, last: int, until: float) -> None:
    """Mutations that libFuzzer chooses by what they cover; half are its own, half ours."""
    import atheris

    def mutated(data: bytes, most: int, number: int) -> bytes:
        random = Random(number)
        return (atheris.Mutate(data, most) if random.random() < .5 else mutator.change(data, random))[:most]

    def judge_one(data: bytes) -> None:
        if judged.inputs >= last or time.monotonic() >= until:
            judged.pipe.flush()
            os._exit(0)
        judged(data)

    with _corpus_folder(mutator.corpus) as folder:
        # our own limits and tracebacks hold, so libFuzzer leaves signals alone
        signals = [f"-handle_{name}=0" for name in ("abrt", "alrm", "bus", "fpe", "ill", "int", "segv", "term", "xfsz")]
        atheris.Setup([sys.argv[0], *signals, "-rss_limit_mb=0", "-timeout=0", f"-seed={seed + judged.inputs + 1}",
                       f"-max_len={MOST_BYTES}", "-verbosity=0", "-print_final_stats=0", str(folder)],
                      judge_one, custom_mutator=mutated)
        atheris.Fuzz()


@contextlib.contextmanager
def _corpus_folder(corpus: list[bytes]) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        for number, data in enumerate(corpus):
            Path(folder, str(number)).write_bytes(data)
        yield Path(folder)


ENGINES: dict[str, Engine] = {"random": random_engine, "atheris": atheris_engine}
