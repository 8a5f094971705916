"""Train a network, or resume an interrupted run.

Into the data file's backup folder go NAME_last.weights every 100 iterations, NAME_1000.weights and so on,
NAME_best.weights with -map, NAME_final.weights, a log, and NAME_report/index.html, a page with pictures of the run;
chart.png lies here. Ctrl-C saves and stops, and so does closing the terminal, unless nohup keeps it running. The same
command goes on, also with another learning rate or more iterations in the cfg; -clear moves away what is there.
"""
from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from darknet_py.cli.detect import device
from darknet_py.cli.model import CFG, cfg_of
from darknet_py.cli.output import to_nowhere
from darknet_py.cli.progress import Progress, duration
from darknet_py.errors import one_line, printable

if TYPE_CHECKING:
    from darknet_py.live.run_streams import RunStreams
    from darknet_py.training.callbacks import Callback
    from darknet_py.training.events import Event, Finished, Iteration, Started
    from darknet_py.training.trainer import Run

MOST_CLASSES = 10       # named at the start
LOGGED = "data", "cfg", "weights", "seed", "amp", "statistics", "clear"         # settings that -log takes along
# flags of Darknet's training that are refused, and what to use instead
ELSEWHERE = {"show-imgs": "darknet-py preview draws augmented pictures, and -dashboard PORT shows those of the run",
             "benchmark-layers": "darknet-py profile CFG times the layers",
             "letter-box": "letter_box=1 in the cfg is what letterboxes, also in Darknet"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", help="a .data file")
    parser.add_argument("cfg", help=CFG)
    parser.add_argument("weights", nargs="?", help="weights to start from, such as yolov4.conv.137")
    parser.add_argument("--thresh", type=float, default=.25, help="of -map (default .25)")
    parser.add_argument("--i", type=int, metavar="N", help="the GPU to use; -1 for none")
    parser.add_argument("--device", help="auto, cpu, cuda, cuda:0 ... (default auto)")
    parser.add_argument("--strict", action="store_true", help="what Darknet would pass over in the cfg is an error")
    parser.add_argument("--iou-thresh", type=float, default=.5, help="of -map (default .5)")
    parser.add_argument("--points", type=int, default=0, help="of -map (default 0, the area under the curve)")
    add_flags(parser)
    add_stream_flags(parser)
    for name in ("dont-show", *ELSEWHERE):
        parser.add_argument(f"--{name}", action="store_true", help=argparse.SUPPRESS)


def add_stream_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of training's stream, which ``demo`` has too."""
    group = parser.add_argument_group("while it trains")
    group.add_argument("--mjpeg-port", type=int, metavar="PORT", help="serve the chart over HTTP: / as MJPEG, as "
                       "Darknet does, /snapshot.jpg")
    group.add_argument("--bind", metavar="ADDRESS", help="the address of that port and of -dashboard (default: all for "
                       "the first, as in Darknet, and 127.0.0.1, this machine alone, for the second)")


def add_flags(parser: argparse.ArgumentParser, seed: str = "--seed") -> None:
    """The flags of training alone. seed: what the flag of that number is called."""
    group = parser.add_argument_group("training")
    group.add_argument("--map", action="store_true", help="measure mAP now and then, and keep the best weights")
    group.add_argument("--map-epochs", type=float, default=4, metavar="N", help="passes through the data between two "
                       "measurements (-mAP_epochs, default 4)")
    group.add_argument("--patience", type=int, metavar="N", help="end the run when N measurements in a row brought no "
                       "better mAP; measures as -map does")
    group.add_argument("--clear", action="store_true", help="start at iteration 0, whatever the weights have seen; "
                       "what lies in the backup folder of this network moves to previous-1 there, and so on")
    group.add_argument("--gpus", metavar="0,1", help="GPUs that share each batch")
    group.add_argument(seed, dest="seed", type=int, metavar="N", help="makes a run repeatable (default: another one "
                       "every time)")
    group.add_argument("--workers", type=int, metavar="N", help="processes that load pictures")
    group.add_argument("--amp", default="off", choices=["off", "bf16", "fp16"], help="mixed precision (default off)")
    group.add_argument("--statistics", default="estimated", choices=["estimated", "running"], help="of batch "
                       "normalisation in what is measured and saved: estimated for the weights of the moment, or the "
                       "running averages of C (default estimated)")
    group.add_argument("--compile", action="store_true", help="let torch.compile make the network faster")
    group.add_argument("--backup", metavar="FOLDER", help="where weights go (default: what the data file says)")
    group.add_argument("--chart", metavar="FILE", help="a chart that Darknet drew of the iterations before; its "
                       "curves go into chart.png")
    group.add_argument("--no-report", action="store_true", help="write no NAME_report/ beside the log")
    group.add_argument("--tensorboard", metavar="FOLDER", help="write for TensorBoard too")
    group.add_argument("--log", metavar="NAME,...", help="log the run to wandb (Weights & Biases), mlflow or "
                       "tensorboard; WANDB_PROJECT, MLFLOW_TRACKING_URI and their other variables say where")
    group.add_argument("--dashboard", type=int, metavar="PORT", help="serve a page with curves, figures and the latest "
                       "pictures while it trains; 0 takes any port that is free")
    group.add_argument("--v", action="store_true", help="a line an iteration, as Darknet, on a terminal too")


def run(arguments: argparse.Namespace) -> int:
    from darknet_py.errors import DarknetError
    from darknet_py.utils.memory import keep_memory
    for flag in ("backend", "precision"):       # of the other verbs of detector and classifier
        if getattr(arguments, flag, None) is not None:
            raise DarknetError(f"training takes no -{flag}, found {getattr(arguments, flag)}; PyTorch trains, and -amp "
                               "chooses its precision")
    for flag, instead in ELSEWHERE.items():
        if getattr(arguments, flag.replace("-", "_"), False):
            raise DarknetError(f"training takes no -{flag.replace('-', '_')}; {instead}")
    keep_memory()
    gpus = [] if arguments.gpus is None else arguments.gpus.split(",")
    if len(gpus) > 1 and "WORLD_SIZE" not in os.environ:
        return launch_processes(gpus, arguments.typed)
    if gpus and arguments.i is None:
        arguments.i = int(gpus[0]) if "WORLD_SIZE" not in os.environ and gpus[0].isdecimal() else None
    with ExitStack() as stack:
        streams = open_streams(arguments)
        if streams is not None:
            stack.enter_context(streams)
        return train(arguments, streams, [stack.enter_context(closing(log)) for log in open_logs(arguments)])


def open_streams(arguments: argparse.Namespace) -> RunStreams | None:
    """The ports that are asked for, of the first process; None for none."""
    mjpeg_port = arguments.mjpeg_port if (arguments.mjpeg_port or 0) > 0 else None          # as in Darknet
    if int(os.environ.get("RANK", 0)) > 0 or (mjpeg_port is None and arguments.dashboard is None):
        return None
    from darknet_py.live.run_streams import RunStreams
    return RunStreams(mjpeg_port, arguments.dashboard, arguments.bind)


def open_logs(arguments: argparse.Namespace) -> list[Callback]:
    """What -log asks for, of the first process; a package that is missing is said before anything is moved or made."""
    from darknet_py.training.callbacks import named_callbacks, needed
    if arguments.tensorboard is not None:
        needed("tensorboard")
    if arguments.log is None or int(os.environ.get("RANK", 0)) > 0:
        return []
    config = {name: getattr(arguments, name) for name in LOGGED if getattr(arguments, name) is not None}
    return named_callbacks([name.strip() for name in arguments.log.split(",")], Path(arguments.cfg).stem, config)


def train(arguments: argparse.Namespace, streams: RunStreams | None, logs: Sequence[Callback] = ()) -> int:
    """Train, print what happens, and stop at a signal."""
    from darknet_py.training.events import Finished, Iteration, Started
    from darknet_py.training.settings import Settings
    from darknet_py.training.trainer import Run
    training = Run(arguments.data, cfg_of(arguments), arguments.weights, Settings(
        clear=arguments.clear, evaluate=arguments.map, score_epochs=arguments.map_epochs, patience=arguments.patience,
        iou_thresh=arguments.iou_thresh, points=arguments.points, thresh=arguments.thresh, device=device(arguments),
        seed=arguments.seed, workers=arguments.workers, amp=arguments.amp, compile=arguments.compile,
        statistics=arguments.statistics, backup=arguments.backup, report=not arguments.no_report,
        tensorboard=arguments.tensorboard, chart=arguments.chart))
    if not training.world.is_main:
        for _ in training:
            pass
        training.world.close()
        return 0
    stopping = [] if training.world.size > 1 else stop_signals()
    bar = sys.stderr.isatty() and not arguments.v
    with Progress(training.last, sys.stderr if bar else None, start=training.iteration, lines=sys.stdout) as progress:
        for event in training if streams is None else streams.follow(training):
            with nullcontext() if training.world.size > 1 else stop_unread(stopping):
                for line in lines(event, not (bar and sys.stdout.isatty())):
                    progress.print(line)
                for log in logs:
                    log(event)
                if isinstance(event, Started) and streams is not None:
                    for line in addresses(streams):
                        progress.print(line)
                if isinstance(event, Iteration):
                    progress.update(event.iteration, state(event))
                if isinstance(event, Finished) and event.weights is not None:
                    progress.print("now: " + "\n     ".join(next_commands(training, arguments, event.weights)))
            if stopping and isinstance(event, Iteration):
                saved = list(training.save_last_now())
                with stop_unread(stopping):
                    for one in saved:
                        progress.print(*lines(one))
                    progress.print(f"stopped after iteration {event.iteration}; the same command goes on from there"
                                   + (", without -clear" if arguments.clear else ""))
                return 130
    training.world.close()
    return 0


def addresses(streams: RunStreams) -> Iterator[str]:
    """Lines that say where to look."""
    for name, server in (("dashboard", streams.dashboard), ("chart", streams.charts)):
        if server is not None:
            yield f"{name:<12}{server.url}"


def launch_processes(gpus: list[str], words: list[str]) -> int:
    """Run the command with one process a GPU.

    gpus: numbers among those that CUDA_VISIBLE_DEVICES leaves. words: of the command line.
    """
    import torch

    from darknet_py.errors import DarknetError
    if not all(gpu.isdecimal() and int(gpu) < torch.cuda.device_count() for gpu in gpus):
        raise DarknetError(f"-gpus {','.join(gpus)}: there are {torch.cuda.device_count()} GPUs that can be used here")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = gpus if visible is None else [visible.split(",")[int(gpu)].strip() for gpu in gpus]
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={len(gpus)}", "-m", "darknet_py"]
    return subprocess.run([*command, *words], env=os.environ | {"CUDA_VISIBLE_DEVICES": ",".join(devices)},
                          check=False).returncode


def stop_signals() -> list[int]:
    """A list to which SIGINT (Ctrl-C), SIGTERM and SIGHUP (the terminal was closed) are appended. A second SIGINT or
    SIGTERM ends the process as usual; SIGHUP comes from the shell and again at its end. Where nohup has it ignored it
    stays so."""
    caught: list[int] = []
    hangup = getattr(signal, "SIGHUP", None)            # Windows has none

    def stop(number: int, frame: object) -> None:
        caught.append(number)
        signal.signal(number, signal.SIG_IGN if number == hangup else signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    if hangup is not None and signal.getsignal(hangup) != signal.SIG_IGN:
        signal.signal(hangup, stop)
    return caught


@contextmanager
def stop_unread(stopping: list[int]) -> Iterator[None]:
    """Output that cannot be written, to a closed terminal or a pipe without a reader, stops the run as a signal does.
    What fails once goes nowhere from then on."""
    try:
        yield
    except OSError as error:
        stopping.append(signal.SIGTERM)
        to_nowhere(*[sys.stdout] if isinstance(error, BrokenPipeError) else [sys.stdout, sys.stderr])


def lines(event: Event, plain: bool = True) -> Iterator[str]:
    """The lines printed for an event; for an iteration only where output is ``plain``."""
    from darknet_py.training.events import Finished, Iteration, Note, Saved, Scored, Started
    from darknet_py.training.report import console_line
    if isinstance(event, Started):
        yield from map(printable, beginning(event))
    elif isinstance(event, Iteration):
        if plain:
            yield console_line(event)
    elif isinstance(event, Scored):
        yield event.score.text
        yield (f" {event.score.name} = {event.score.value * 100:.2f} %, best = {event.best * 100:.2f} %"
               f"{' (new)' if event.is_best else ''}")
    elif isinstance(event, Saved):
        yield printable(f"saved {event.path}")
    elif isinstance(event, Note):
        yield one_line(event.text)
    elif isinstance(event, Finished):
        yield from map(printable, ending(event))


def state(event: Iteration) -> str:
    """The text beside the progress bar."""
    waits = f", waits {event.waited / event.seconds:.0%} for data" if event.waited > .1 * event.seconds else ""
    return f"loss {event.average:.4g}, rate {event.rate:.3g}, {event.size[0]} x {event.size[1]}{waits}"


def beginning(event: Started) -> Iterator[str]:
    """The lines of the start: device, data, initial weights, iterations, size, output folder."""
    yield f"device      {event.device}"
    for split in event.splits:
        objects = []
        if split.objects is not None:
            objects = [f"{name} {count:,}" for name, count in split.objects[:MOST_CLASSES]]
            objects += [f"{len(split.objects) - MOST_CLASSES} more classes"] * (len(split.objects) > MOST_CLASSES)
        total = "" if split.objects is None else f", {sum(count for _, count in split.objects):,} objects: "
        yield f"{split.name:<12}{split.total:,} {split.unit}{total}{', '.join(objects)}"
    if len(event.splits) < 2:
        yield "valid       not evaluated; -map does"
    yield f"weights     {event.weights}"
    parts = f"{event.subdivisions} subdivision{'s' * (event.subdivisions > 1)}"
    yield (f"iterations  {event.iteration + 1:,} to {event.last:,}, each of a batch of {event.images} in {parts}: "
           f"{event.epochs:.3g} passes through the data in all")
    width, height = event.size
    if width:
        yield f"size        {width} x {height}" + (
            f", up to {event.largest[0]} x {event.largest[1]} (random=)" if event.largest != event.size else "")
    if event.backup is not None:
        yield f"files       {event.backup}{os.sep}, and chart.png here"


def ending(event: Finished) -> Iterator[str]:
    """The lines of the end: reason, iterations, time, scores."""
    if event.stopped is not None:
        yield f"stopped after iteration {event.iteration:,}: {event.stopped}"
    scores = "" if event.score is None else (
        f"; {event.score.name} = {event.score.value * 100:.2f} % at the end"
        + ("" if event.best is None or event.best_at is None else
           f", {event.best * 100:.2f} % at best, in iteration {event.best_at:,}"))
    yield f"trained to iteration {event.iteration:,} in {duration(event.seconds)}{scores}"


def next_commands(training: Run, arguments: argparse.Namespace, weights: Path) -> Iterator[str]:
    """The next commands, to use the weights and to evaluate them."""
    network, files = training.network, [arguments.data, arguments.cfg, str(weights)]
    if network.detection_heads:
        words = [["detector", "test", *files, "IMAGE"], ["detector", "map", *files]]
    elif network.options.width:
        words = [["classifier", "predict", *files, "IMAGE"], ["classifier", "valid", *files]]
    else:
        words = [["rnn", "generate", *files[1:]], ["rnn", "valid", *files[1:], "-file", "TEXT"]]
    yield from (printable(f"darknet-py {shlex.join(line)}") for line in words)
