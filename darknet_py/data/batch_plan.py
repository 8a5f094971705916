"""The mini-batches of an iteration: sizes and numbers of images, as the options of [net] say."""
from __future__ import annotations

import math
import random
from pathlib import Path

from darknet_py.cfg.options import NetOptions
from darknet_py.data.loader import Plan
from darknet_py.errors import CfgError, Reason

RESIZE_EVERY = 10           # iterations
LARGEST_AT_END = 100        # iterations
WIDEST = 1.4                # times the cfg's size, for random=1


def plan(net: NetOptions, factor: float, iteration: int, seed: int = 0) -> Plan:
    """The mini-batches of an iteration, counted from 1.

    Args:
        factor: ``random=`` of the last head: 0 for images of the cfg's size, 1 for sizes from 1/1.4 to 1.4 of it,
            another number for a range of that factor.

    Darknet: train_detector. A size is kept for 10 iterations and is a multiple of ``resize_step``, one step above the
    nearest; the first one and those of the last 100 iterations are the largest. With ``dynamic_minibatch`` smaller
    images come in larger mini-batches.
    """
    images, width, height = mini_batch(net), net.width, net.height
    if factor:
        widest, step = WIDEST if factor == 1 else factor, int(net.resize_step)
        block = (iteration - 1) // RESIZE_EVERY
        draw = random.Random(f"{seed} {block}")
        scale = draw.uniform(1, widest)
        scale = scale if draw.random() < .5 else 1 / scale

        def side(length: int, scale: float) -> int:
            return max(step, math.floor(scale * length / step + 1.5) * step)

        largest = side(net.width, widest), side(net.height, widest)
        if block == 0 or iteration - 1 > net.max_batches - LARGEST_AT_END:
            width, height = largest
        elif scale > 1 or max(side(net.width, scale) - net.width, side(net.height, scale) - net.height) <= 0:
            width, height = side(net.width, scale), side(net.height, scale)
        if net.dynamic_minibatch:
            fitting = images * largest[0] * largest[1] // (width * height)
            images = int(fitting * .8) if int(fitting * .8) > images else fitting
    return Plan(width, height, images * net.subdivisions, net.subdivisions, net.time_steps,
                sequences(net, iteration) if net.track else None)


def shared(plan: Plan, processes: int, cfg: Path | None = None) -> Plan:
    """The same images in mini-batches for so many processes: where these are more than the mini-batches, in more and
    smaller ones.

    Raises:
        CfgError: there are fewer images than processes; names the file ``cfg``.
    """
    if plan.subdivisions >= processes:
        return plan
    fitting = [count for count in range(processes, plan.images + 1) if plan.images % count == 0]
    if not fitting:
        raise CfgError(f"a batch of {plan.images} images cannot be shared by {processes} processes",
                       Reason.INDIVISIBLE, cfg)
    return plan._replace(subdivisions=next((count for count in fitting if count % processes == 0), fitting[0]))


def notes(net: NetOptions, plan: Plan) -> list[str]:
    """What to tell the user where processes share other mini-batches than the cfg has."""
    return [] if plan.subdivisions == net.subdivisions else [
        f"subdivisions={net.subdivisions} are too few for the processes that train: they share {plan.subdivisions} "
        f"mini-batches of {plan.images // plan.subdivisions} images, by which batch normalisation differs from that of "
        "one process"]


def mini_batch(net: NetOptions) -> int:
    """Images that the network sees at once, those of all time steps. Darknet: parse_net_options."""
    return max(1, net.batch // net.subdivisions) * net.time_steps


def sequences(net: NetOptions, iteration: int) -> int:
    """For ``track``, in how many parts of a batch pictures follow each other. Darknet: get_current_seq_subdivisions."""
    parts: float = net.subdivisions if net.sequential_subdivisions is None else net.sequential_subdivisions
    for step, scale in zip(net.steps, net.seq_scales, strict=False):
        parts = int(parts * scale) if step <= iteration else parts
    return min(max(1, int(parts)), net.subdivisions)
