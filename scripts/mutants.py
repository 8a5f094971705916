"""Mutation testing: changes of one token that no test notices.

    pip install cosmic-ray
    python scripts/mutants.py darknet_py/losses tests/losses -count 100
    python scripts/mutants.py darknet_py/training/ema.py tests/training/test_engine.py -seed 1

cosmic-ray's operators make the mutants, at most one a place in the code. They run in a copy of the checkout, so without
../shared, each in a fork of a process that has imported PyTorch. (mutmut passes over decorated functions, as losses
are, and over constants; cosmic-ray itself imports PyTorch anew for each mutant.) It ends with 1 where a mutant
survived: then a test is missing, unless the mutant computes the same.
"""
from __future__ import annotations

import argparse
import ast
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
ARITHMETIC, BITS = "(Add|Sub|Mul|Div|FloorDiv|Mod|Pow)", "Bit(Or|And|Xor)"
# without those that nearly always raise a TypeError, such as shifts of tensors
OPERATORS = re.compile(
    rf"core/(ReplaceBinaryOperator_({ARITHMETIC}_{ARITHMETIC}|{BITS}_{BITS})|ReplaceComparison.*|AddNot|NumberReplacer|"
    r"ReplaceUnaryOperator_(USub_UAdd|Delete_.*)|Replace(True|False|And|Or|Break|Continue)With.*|ZeroIteration.*)")


class Mutant(NamedTuple):
    """A changed file: its path, its new text, and the changed line's number, before and after."""

    path: Path
    text: str
    number: int
    old: str
    new: str


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("code", help="a file or folder of the package")
    parser.add_argument("tests", nargs="+", help="test files or folders")
    parser.add_argument("-count", type=int, default=40, help="of mutants, a random sample (default: 40)")
    parser.add_argument("-seed", type=int, default=0, help="of the sample")
    parser.add_argument("-timeout", type=float, default=120, help="seconds after which a mutant is killed")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        tree = shutil.copytree(ROOT, Path(folder, "tree"), ignore=shutil.ignore_patterns(".*", "__pycache__"))
        os.chdir(tree)
        sys.dont_write_bytecode = True
        sys.path.insert(0, str(tree))
        os.environ["PYTHONDONTWRITEBYTECODE"], os.environ["PYTHONPATH"] = "1", str(tree)
        import cv2  # noqa: F401
        import pytest  # noqa: F401
        import torch  # noqa: F401
        if run_tests(arguments.tests, 10 * arguments.timeout):
            sys.exit("the tests fail without a mutant")
        mutants = sample(Path(arguments.code), arguments.count, arguments.seed)
        survivors = 0
        for mutant in mutants:
            before = mutant.path.read_text()
            mutant.path.write_text(mutant.text)
            if not run_tests(arguments.tests, arguments.timeout):
                survivors += 1
                print(f"{mutant.path}:{mutant.number}:\n- {mutant.old}\n+ {mutant.new}", flush=True)
            mutant.path.write_text(before)
    print(f"{len(mutants) - survivors} of {len(mutants)} mutants killed")
    return int(survivors > 0)


def run_tests(tests: list[str], seconds: float) -> bool:
    """Run the fast tests in a fork of this process up to the first failure; True if one failed, or time was up."""
    child = os.fork()
    if not child:
        os.setsid()
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        import pytest
        os._exit(pytest.main(["-x", "-n", "0", "-m", "not slow", "-p", "no:cacheprovider", *tests]))
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status != 0
        time.sleep(.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


def sample(code: Path, count: int, seed: int) -> list[Mutant]:
    """Random places in the code, with one mutant each."""
    draw = random.Random(seed)
    places = [(path, place) for path in (sorted(code.rglob("*.py")) if code.is_dir() else [code])
              for place in places_in(path).values()]
    draw.shuffle(places)
    found: list[Mutant] = []
    for path, place in places:
        draw.shuffle(place)
        found.extend([mutant for choice in place for mutant in mutated(path, *choice)][:1])
        if len(found) == count:
            break
    return found


def places_in(path: Path) -> dict[tuple[int, int], list[tuple[str, int]]]:
    """Operators, and which of their occurrences, by line and column."""
    from cosmic_ray.ast import ast_nodes, get_ast_from_path
    from cosmic_ray.plugins import get_operator, operator_names
    nodes, places = list(ast_nodes(get_ast_from_path(path))), {}
    for name in filter(OPERATORS.fullmatch, operator_names()):
        operator = get_operator(name)()
        for occurrence, (start, _) in enumerate(at for node in nodes for at in operator.mutation_positions(node)):
            places.setdefault(start, []).append((name, occurrence))
    return places


def mutated(path: Path, name: str, occurrence: int) -> Iterator[Mutant]:
    """The mutant, where more than an annotation or ``strict=`` changes."""
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator
    before = path.read_text()
    after = mutate_code(before, get_operator(name)(), occurrence)
    if after is not None and meaning(after) not in (None, meaning(before)):
        lines = zip(before.splitlines(), after.splitlines(), strict=False)
        yield next(Mutant(path, after, number, old.strip(), new.strip())
                   for number, (old, new) in enumerate(lines, 1) if old != new)


def meaning(text: str) -> str | None:
    """The code without annotations and ``strict=``; None where it is none."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return None
    for node in ast.walk(tree):
        for field in ("annotation", "returns"):
            if getattr(node, field, None) is not None:
                setattr(node, field, ast.Constant(0))
        if isinstance(node, ast.keyword) and node.arg == "strict":
            node.value = ast.Constant(0)
    return ast.dump(tree)


if __name__ == "__main__":
    sys.exit(main())
