"""From the sections of a cfg to layers, and the plan in which they are executed."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from torch import Tensor

from darknet_py.cfg.language import Cfg, Section
from darknet_py.cfg.options import NetOptions, bind
from darknet_py.errors import Reason, suggestion
from darknet_py.layers import KINDS, Head, Layer, Place, Shape, TrainingContext
from darknet_py.layers.base import MAX_PARAMETERS

MAX_LAYERS = 10_000


class Step(NamedTuple):
    """One step of the execution plan: a layer, its inputs, and the outputs that are no longer needed after it."""

    layer: Layer
    sources: tuple[int, ...]    # the layers it reads; -1 is the network's input
    done: tuple[int, ...]       # the layers that nobody reads after this step


class HeadPass(NamedTuple):
    """A head's input, with its gradient graph, and its output, detached."""

    layer: Layer
    input: Tensor
    output: Tensor


def make_plan(cfg: Cfg, net: NetOptions, input_shape: Shape, context: TrainingContext) -> tuple[Step, ...]:
    """Build the layers of a cfg, each from the shapes that it reads.

    Raises:
        CfgError: a section that has no meaning there.
    """
    if len(cfg.sections) > MAX_LAYERS:
        raise cfg.error(f"has {len(cfg.sections) - 1} layers, more than the {MAX_LAYERS} allowed",
                        reason=Reason.TOO_LARGE)
    layers: list[Layer] = []
    sources: list[tuple[int, ...]] = []
    count = 0
    for index, section in enumerate(cfg.sections[1:]):
        place = Place(cfg, section, index, net, layers, context)
        kind = _kind(cfg, section)
        options = bind(cfg, section, kind.Options)
        read = kind.sources(options, place)
        final = next((source for source in read if source >= 0 and layers[source].final), None)
        if final is not None:
            raise place.error(f"reads layer {final}, a [{layers[final].kind}], which no other layer can read",
                              reason=Reason.BAD_REFERENCE)
        layer = kind(options, [input_shape if source < 0 else layers[source].shape for source in read], place)
        count += sum(blob.tensor.numel() for blob in layer.blobs())
        if count > MAX_PARAMETERS:
            raise place.error(f"brings the network to {count} weights, more than the {MAX_PARAMETERS} allowed",
                              reason=Reason.TOO_LARGE)
        layers.append(layer)
        sources.append(read)
    last = {index: index for index in range(len(layers))}       # what nobody reads is done at once
    last.update((source, step) for step, read in enumerate(sources) for source in read)
    done: list[list[int]] = [[] for _ in layers]
    heads = output_heads(layers)
    for source, step in last.items():
        if source not in heads:
            done[step].append(source)
    return tuple(map(Step, layers, sources, map(tuple, done)))


def output_heads(layers: Sequence[Layer]) -> tuple[int, ...]:
    """Indices of the layers whose outputs are the network's: the heads, or the last layer where there is none."""
    return tuple(index for index, layer in enumerate(layers) if isinstance(layer, Head)) or (len(layers) - 1,)


def read_net(cfg: Cfg, width: int | None, height: int | None) -> tuple[NetOptions, Shape]:
    """The [net] section and the shape of an input image."""
    section = cfg.sections[0]
    options = bind(cfg, section, NetOptions)
    if len(cfg.sections) == 1:
        raise cfg.error("expected layers after [net], found none", section.line, Reason.EMPTY)
    if options.policy == "steps" and not 0 < len(options.steps) == len(options.scales):
        raise cfg.error(f"[net] policy=steps needs as many steps= as scales=, found {len(options.steps)} and "
                        f"{len(options.scales)}", section.line, Reason.WRONG_COUNT)
    if (stored := cfg.stored) is not None:
        known = {field: getattr(stored, field) for field in ("width", "height", "letter_box")}
        options = replace(options, **{field: value for field, value in known.items() if value is not None})
    options = replace(options, width=options.width if width is None else width,
                      height=options.height if height is None else height)
    shape = Shape(options.channels, options.height, options.width)
    if min(shape) < 1:
        shape = Shape(options.inputs or 0, 1, 1)
    if shape.size < 1 or shape.size > MAX_PARAMETERS:
        raise cfg.error(f"[net] needs width, height and channels, or inputs, from 1 to {MAX_PARAMETERS} values in all; "
                        f"found width={options.width}, height={options.height}, channels={options.channels}, "
                        f"inputs={options.inputs}", section.line, Reason.OUT_OF_RANGE)
    return options, shape


def _kind(cfg: Cfg, section: Section) -> type[Layer]:
    """The class of a section's layer."""
    if section.kind in KINDS:
        return KINDS[section.kind]
    raise cfg.error(f"expected a layer that Darknet knows, found [{section.kind}]"
                    + suggestion(section.kind, KINDS, "[{}]"), section.line, Reason.UNKNOWN_NAME)
