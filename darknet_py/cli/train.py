"""Train a network, or go on from where a run was cut off.

Writes NAME_last.weights every 100 iterations, NAME_1000.weights and so on, NAME_best.weights with -map, and
NAME_final.weights into the data file's backup folder, and chart.png.
"""
from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from darknet_py.training.run import Event


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", help="a .data file")
    parser.add_argument("cfg", help="the network, a .cfg file")
    parser.add_argument("weights", nargs="?", help="weights to start from, such as yolov4.conv.137")
    add_flags(parser)
    parser.add_argument("--iou-thresh", type=float, default=.5, help="of -map (default .5)")
    parser.add_argument("--points", type=int, default=0, help="of -map (default 0, the area under the curve)")
    parser.add_argument("--thresh", type=float, default=.25, help="of -map (default .25)")
    parser.add_argument("--i", type=int, metavar="N", help="the GPU to use; -1 for none")
    parser.add_argument("--device", help="auto, cpu, cuda, cuda:0 ... (default auto)")
    parser.add_argument("--strict", action="store_true", help="what Darknet would pass over in the cfg is an error")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of training alone."""
    group = parser.add_argument_group("training")
    group.add_argument("--map", action="store_true", help="measure mAP now and then, and keep the best weights")
    group.add_argument("--map-epochs", type=float, default=4, metavar="N", help="passes through the data between two "
                       "measurements (-mAP_epochs, default 4)")
    group.add_argument("--clear", action="store_true", help="start at iteration 0, whatever the weights have seen")
    group.add_argument("--gpus", metavar="0,1", help="GPUs to share each batch")
    group.add_argument("--seed", type=int, help="repeat a run (default: another one every time)")
    group.add_argument("--workers", type=int, help="processes that load pictures")
    group.add_argument("--amp", default="off", choices=["off", "bf16", "fp16"], help="mixed precision (default off)")
    group.add_argument("--compile", action="store_true", help="let torch.compile make the network faster")
    group.add_argument("--backup", metavar="FOLDER", help="where weights go (default: that of the data file)")
    group.add_argument("--tensorboard", metavar="FOLDER", help="write for TensorBoard too")
    group.add_argument("--chart", metavar="FILE", help="another name for chart.png")
    group.add_argument("--v", action="store_true", help="a line an iteration, as Darknet, on a terminal too")


def run(arguments: argparse.Namespace) -> int:
    from darknet_py.cfg import read_cfg
    from darknet_py.cli.detect import device
    from darknet_py.training.run import Run, Settings
    run = Run(arguments.data, read_cfg(arguments.cfg, strict=arguments.strict), arguments.weights, Settings(
        clear=arguments.clear, evaluate=arguments.map, score_epochs=arguments.map_epochs,
        iou_thresh=arguments.iou_thresh, points=arguments.points, thresh=arguments.thresh, device=device(arguments),
        seed=arguments.seed, workers=arguments.workers, amp=arguments.amp, compile=arguments.compile,
        backup=arguments.backup))
    for event in run:
        show(event)
    return 0


def show(event: Event) -> None:
    from darknet_py.training.run import Iteration, Note, Saved, Scored
    if isinstance(event, Iteration):
        print(f" {event.iteration}: {event.loss:f}, {event.average:f} avg loss, {event.rate:f} rate, {event.seconds:f} "
              f"seconds, {event.images} images, {event.hours_left:f} hours left  waited {event.waited:.3f}", flush=True)
    elif isinstance(event, Scored):
        print(event.score.text)
        print(f" {event.score.name} = {event.score.value * 100:.2f} %, best = {event.best * 100:.2f} %", flush=True)
    elif isinstance(event, Saved):
        print(f" saved {event.path}", flush=True)
    elif isinstance(event, Note):
        print(event.text, file=sys.stderr, flush=True)
