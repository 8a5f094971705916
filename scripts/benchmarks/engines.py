"""benchmark.py engines: networks with random weights on our backends and in other programs."""
from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .common import PREDICTED, ROOT, facts_here, named_cfg, opencv_flag, words_of, write_facts

if TYPE_CHECKING:
    from darknet_py.model.network import Network

NETWORKS = ["yolov4", "yolov4-tiny", "yolov3", "yolov3-tiny", "yolov4-csp"]
PICTURE = ROOT / "cfg/shapes.png"
MATRIX = 2048           # sides of the matrices whose product tells the CPU's rate
PEERS = [sys.executable, str(Path(__file__).with_name("peers.py"))]


class Engine(NamedTuple):
    """What runs a network. ours: a backend of ours; own: the engine whose own API this is compared with."""

    name: str
    precision: str
    ours: bool
    program: str
    own: str | None = None


class Cell(NamedTuple):
    """A network at a size and a batch; its files. outline: with its weights. flops: for the batch."""

    network: str
    size: int
    batch: int
    cfg: str
    weights: str
    model: str | None
    outline: Network
    flops: int


def add_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--cfgs", type=words_of, default=NETWORKS, metavar="NAME,...", help="networks by name, or paths "
                      f"of cfgs (default {','.join(NETWORKS)})")
    verb.add_argument("--sizes", type=numbers, default=[416], metavar="N,...", help="of images (default 416)")
    verb.add_argument("--batches", type=numbers, default=[1], metavar="N,...", help="images at a time (default 1)")
    verb.add_argument("--all", action="store_true", help="sizes 416 and 608, batches of 1 and 8")
    verb.add_argument("--precisions", type=words_of, default=["float32", "bfloat16"], metavar="NAME,...",
                      help="of our backends (default float32,bfloat16)")
    verb.add_argument("--only", type=words_of, metavar="NAME,...", help="engines whose names are in the list")
    verb.add_argument("--rounds", type=int, default=10, help="turns of each, of a quarter of a second or a run "
                      "(default %(default)s)")
    opencv_flag(verb)
    verb.add_argument("--darknet", type=Path, metavar="PROGRAM", help="the C program, for a single run on an image")
    verb.add_argument("--json", type=Path, metavar="FILE", help="write all figures too, after each network")


def numbers(text: str) -> list[int]:
    found = [int(word) for word in words_of(text)]
    if min(found) < 1:
        raise argparse.ArgumentTypeError(f"expected numbers from 1 on, found {text}")
    return found


def engines(a: argparse.Namespace) -> list[Engine]:
    """All that are installed here."""
    from darknet_py.inference.backends import BACKENDS
    own = {("onnxruntime", "float32"): "ONNX Runtime's own API", ("openvino", "float32"): "OpenVINO's own API",
           ("openvino", "bfloat16"): "OpenVINO's own API"}
    found = []
    for name, backend in BACKENDS.items():
        if all(find_spec(package) is not None for package in (*backend.packages, *backend.builds_with)):
            found += [Engine(f"darknet_py {name}", precision, True, name, own.get((name, precision)))
                      for precision in a.precisions if precision in backend.precisions]
    found += [Engine(name, precision, False, program) for (program, precision), name in own.items()
              if find_spec(program) is not None and find_spec("onnx") is not None and precision in a.precisions]
    if a.opencv is not None:
        found.append(Engine("OpenCV", "float32", False, "opencv"))
    return [engine for engine in found if a.only is None or engine.name in a.only]


def run(a: argparse.Namespace) -> None:
    """Cell by cell; what is measured is written after each."""
    from darknet_py.tools.benchmark import Conditions
    if a.all:
        a.sizes, a.batches = [416, 608], [1, 8]
    if a.rounds < 1:
        raise SystemExit(f"benchmark: --rounds needs a number from 1 on, found {a.rounds}")
    chosen, rows = engines(a), []
    if not chosen:
        raise SystemExit("benchmark: --only names no engine that is installed")
    facts = facts_here()
    for cfg in a.cfgs:
        for size in a.sizes:
            with tempfile.TemporaryDirectory() as folder:
                for batch in a.batches:
                    print(f"{cfg}, {size} x {size}, {batch} at a time", file=sys.stderr, flush=True)
                    cell = made_cell(cfg, size, batch, Path(folder))
                    rows += measured(cell, chosen, a, Path(folder))
                    write_facts(a.json, facts, rows=rows)
    print("\n".join(markdown(rows, facts["command"], str(Conditions.here()))))


def made_cell(name: str, size: int, batch: int, folder: Path) -> Cell:
    """Write a network's files: the cfg with that size, random weights, the ONNX model where onnx is installed."""
    from darknet_py.model.network import load_network
    from darknet_py.tools.random_weights import randomize
    path, weights, model = folder / "network.cfg", folder / "network.weights", folder / "network.onnx"
    named_cfg(name).with_values({(0, "width"): size, (0, "height"): size}).write(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not weights.exists():
            randomize(load_network(path)).save_weights(weights)
        network = load_network(path, weights)
        if not model.exists() and find_spec("onnx") is not None:
            from darknet_py.errors import DarknetError
            from darknet_py.model.onnx_model import onnx_model
            with suppress(DarknetError):                # what ONNX cannot express
                model.write_bytes(onnx_model(network.exportable()).SerializeToString())
    flops = batch * sum(layer.flops for layer in network.layers)
    return Cell(Path(name).stem, size, batch, str(path), str(weights), str(model) if model.exists() else None,
                network, flops)


def measured(cell: Cell, chosen: list[Engine], a: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """A row for each engine."""
    from darknet_py.errors import DarknetError
    from darknet_py.tools.benchmark import WORKER, reason_of, worker_environment
    from darknet_py.utils.timed_process import Spread, TimedProcess, alternate
    environment = worker_environment(folder)
    rows = {engine: {"network": cell.network, "size": cell.size, "batch": cell.batch, "engine": engine.name,
                     "precision": engine.precision, "own": engine.own} for engine in chosen}
    with ExitStack() as stack:
        product = stack.enter_context(TimedProcess(WORKER, environment))
        product.build(backend="product", sides=MATRIX)
        processes: dict[Engine | None, TimedProcess] = {None: product}
        for engine, row in rows.items():
            try:
                process, facts = started(engine, cell, environment, a.opencv, stack)
            except DarknetError as error:
                row["reason"] = reason_of(error, engine.program, engine.precision)
            else:
                processes[engine] = process
                row |= {"version": facts.get("version"), "load_seconds": facts["load"],
                        "memory_bytes": facts["memory"]}
            print(f"  {engine.name} {engine.precision}: {row.get('reason', 'ready')}", file=sys.stderr, flush=True)
        times = alternate(processes, a.rounds)
    product_times = times.pop(None)
    if isinstance(product_times, DarknetError):
        raise product_times
    for engine, seconds in times.items():
        if engine is not None:
            rows[engine] |= {"reason": str(seconds)} if isinstance(seconds, DarknetError) else \
                {**Spread.of(seconds)._asdict(), "runs": len(seconds)}
    found = list(rows.values())
    if a.darknet is not None:
        found.append({"network": cell.network, "size": cell.size, "batch": cell.batch, "engine": "C Darknet",
                      "precision": "float32", "own": None, **seconds_of_c(a.darknet, cell, folder)})
    rate = 2 * MATRIX ** 3 / Spread.of(product_times).median
    return with_ratios(found, cell.flops, rate)


def started(engine: Engine, cell: Cell, environment: dict[str, str], opencv: str | None, stack: ExitStack) -> Any:
    """The process of an engine, that has its network, and its facts. Models that a backend of ours compiles are cached
    before, by a process of which nothing is measured."""
    from darknet_py.errors import DarknetError
    from darknet_py.inference.backends import BACKENDS
    from darknet_py.tools.benchmark import WORKER, check_runs
    from darknet_py.utils.timed_process import TimedProcess
    request: dict[str, Any] = {"cfg": cell.cfg, "weights": cell.weights, "precision": engine.precision}
    if engine.ours:
        command = WORKER
        check_runs(cell.outline, engine.program, engine.precision, "cpu")
        request |= {"backend": engine.program, "width": None, "height": None, "batch": cell.batch, "device": "cpu",
                    "outputs": None}
        if BACKENDS[engine.program].cached:
            with TimedProcess(command, environment) as first:
                first.build(**request)
    elif engine.program != "opencv" and cell.model is None:
        raise DarknetError("needs an ONNX model, which there is none of")
    else:
        command = PEERS if engine.program != "opencv" else [str(opencv), *PEERS[1:]]
        request |= {"program": engine.program, "model": cell.model,
                    "shape": [cell.batch, cell.outline.input_shape.channels, cell.size, cell.size]}
    process = stack.enter_context(TimedProcess(command, environment))
    facts = process.build(**request)
    return process, facts


def seconds_of_c(program: Path, cell: Cell, folder: Path) -> dict[str, Any]:
    """What the C program says of one image, of a single run, from its own folder, which has what it draws with."""
    if cell.batch > 1:
        return {"reason": "runs one image at a time"}
    names = folder / "c.names"
    names.write_text("object\n" * 1000)
    (folder / "c.data").write_text(f"classes=80\nnames={names}\n")
    command = [str(program.resolve()), "detector", "test", str(folder / "c.data"), cell.cfg, cell.weights,
               str(PICTURE), "-dont_show"]
    done = subprocess.run(command, cwd=program.resolve().parent, capture_output=True, text=True, errors="replace",
                          check=False, stdin=subprocess.DEVNULL, env={**os.environ})
    match = PREDICTED.search(done.stdout)
    if match is None:
        return {"reason": f"ended with {done.returncode} and told no time"}
    seconds = float(match[1]) / 1000
    return {"median": seconds, "least": seconds, "most": seconds, "runs": 1, "memory_bytes": None}


def with_ratios(rows: list[dict[str, Any]], flops: int, rate: float) -> list[dict[str, Any]]:
    """Rows of a cell with images a second; the time in parts of OpenCV's and of the engine's own API's; and the rate of
    multiplications and additions in parts of the matrix product's.

    Args:
        flops: of the batch.
        rate: of the matrix product, a second.
    """
    medians = {(row["engine"], row["precision"]): row["median"] for row in rows if "median" in row}
    opencv = medians.get(("OpenCV", "float32"))
    for row in rows:
        if (median := row.get("median")) is None:
            continue
        own = medians.get((row["own"], row["precision"]))
        row |= {"images_per_second": row["batch"] / median, "to_opencv": None if opencv is None else median / opencv,
                "to_own_api": None if own is None else median / own, "flops_per_second": flops / median,
                "product_flops_per_second": rate, "share_of_product": flops / median / rate}
    return rows


def markdown(rows: list[dict[str, Any]], command: str, conditions: str) -> Iterator[str]:
    """The table for docs/speed.md."""
    yield f"`{command}`; {conditions}."
    yield "Medians (least to most) of a batch; ratios are of times, below 1 is faster."
    yield ""
    yield ("| network | size | batch | engine | precision | ms | images/s | to OpenCV | to own API "
           "| of the matrix rate | memory, MB |")
    yield "|---|---|---|---|---|---|---|---|---|---|---|"
    for row in rows:
        name = row["engine"] + (f" {row['version']}" if row.get("version") else "")
        cells = [row["network"], row["size"], row["batch"], name, row["precision"]]
        if "median" in row:
            memory = row["memory_bytes"]
            cells += [f"{1e3 * row['median']:.1f} ({1e3 * row['least']:.1f} to {1e3 * row['most']:.1f})",
                      f"{row['images_per_second']:.2f}", *("" if row[key] is None else f"{row[key]:.2f}"
                                                           for key in ("to_opencv", "to_own_api")),
                      f"{row['share_of_product']:.0%}", "" if memory is None else f"{memory / 1e6:.0f}"]
        else:
            cells += [row["reason"], "", "", "", "", ""]
        yield "| " + " | ".join(map(str, cells)) + " |"
    rates = dict.fromkeys(f"{row['product_flops_per_second'] / 1e9:.0f}" for row in rows if "median" in row)
    if rates:
        yield ""
        yield (f"The matrix rate, of products of {MATRIX} x {MATRIX} float32 matrices in the same turns, in the order "
               f"of the table: {', '.join(rates)} GFLOP/s.")
