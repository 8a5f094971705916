"""Binding of cfg sections to dataclasses of typed options: ``bind`` parses, checks and fills in C's defaults.

Darknet: option_find_int and its siblings (option_list.c), which read a value's leading number with atoi and atof.
"""
from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from darknet_py.cfg.language import Cfg, Entry, Section
from darknet_py.errors import Reason, suggestion

Options = TypeVar("Options")
LIMIT = 2 ** 31             # C keeps these values in an int
_NUMBER = {
    int: re.compile(r"[+-]?[0-9]+"),
    float: re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"),
}
_EXPECTED = {int: "a whole number", float: "a number", str: "a name"}


def option(default: Any, *, choices: tuple[str, ...] | dict[str, Any] | None = None, least: float | None = None,
           others: dict[str, str] | None = None) -> Any:
    """A dataclass field with the values that its text may have.

    Args:
        choices: the only values a text may have.
        least: the smallest number that makes sense.
        others: beginning of another program's name for a choice -> that choice, for the error's hint.
    """
    return field(default=default, metadata={"choices": choices, "least": least, "others": others or {}})


def bind(cfg: Cfg, section: Section, options: type[Options]) -> Options:
    """The options of one section: types from the dataclass, the first of equal keys, C's defaults.

    Raises:
        CfgError: a value of the wrong type, range or choice. Keys that the dataclass lacks are warned of.
    """
    schema, values = _schema(options), {}    # type: ignore[arg-type]
    for key, entry in section.first.items():
        if key not in schema:
            cfg.warn(f"[{section.kind}] has no option {key}=" + suggestion(key, schema, "{}=", .75), entry.line)
            continue
        name, read, check = schema[key]
        values[name] = check(cfg, entry, read(cfg, entry))
    return options(**values)


def keys(options: type) -> Collection[str]:
    """The keys that a section may have, of the dataclass that lists its options."""
    return _schema(options).keys()


@cache
def _schema(options: type) -> dict[str, tuple[str, Callable, Callable]]:
    """key -> (field, reader of its text, checker of its value). The field of a key that is a Python word ends in _."""
    hints = get_type_hints(options)
    return {f.name.rstrip("_"): (f.name, _reader(hints[f.name]), _checker(f.metadata)) for f in fields(options)}


def _reader(hint: Any) -> Callable[[Cfg, Entry], Any]:
    """The reader for ``int``, ``float``, ``str`` or a ``tuple`` of one of them, each perhaps ``| None``."""
    if get_origin(hint) is tuple:
        kind = get_args(hint)[0]
        return lambda cfg, entry: _read_list(cfg, entry, kind)
    kind = next((kind for kind in get_args(hint) if kind is not type(None)), hint)
    if get_origin(kind) is tuple:
        return _reader(kind)
    return lambda cfg, entry: _read(cfg, entry, entry.value, kind)


def _read(cfg: Cfg, entry: Entry, text: str, kind: type) -> Any:
    """One value. C reads a leading number and passes over the rest; so do we, with a warning."""
    if kind is str:
        return text
    match = _NUMBER[kind].match(text)
    if match is None:
        raise cfg.error(f"{entry.key}= needs {_EXPECTED[kind]}, found {text[:40]!r}", entry.line)
    rest = text[match.end():]
    if rest.strip(".0"):
        cfg.warn(f"{entry.key}={text[:40]} is read as {match[0]}", entry.line)
    value = kind(match[0]) if len(match[0]) < 400 else LIMIT
    if abs(value) >= (LIMIT if kind is int else 3.4e38):
        raise cfg.error(f"{entry.key}= needs {_EXPECTED[kind]} below {LIMIT if kind is int else 3.4e38}, "
                        f"found {text[:40]}", entry.line, Reason.OUT_OF_RANGE)
    return value


def _read_list(cfg: Cfg, entry: Entry, kind: type) -> tuple:
    """Values between commas; a comma at the end adds none."""
    items = entry.value.split(",")
    while items and not items[-1]:
        items.pop()
    return tuple(_read(cfg, entry, item, kind) for item in items)


def _checker(metadata: Any) -> Callable[[Cfg, Entry, Any], Any]:
    """The check of a value against ``option``'s choices and least."""
    choices, least, others = metadata.get("choices"), metadata.get("least"), metadata.get("others", {})

    def check(cfg: Cfg, entry: Entry, value: Any) -> Any:
        if choices is not None and value not in choices:
            hint = suggestion(str(value), choices)
            for other, choice in others.items():
                if str(value).lower().startswith(other):
                    hint = f" ({other} is {entry.key}={choice} here)"
            raise cfg.error(f"{entry.key}= needs one of {', '.join(choices)}, found {value!r}{hint}", entry.line,
                            Reason.UNKNOWN_NAME)
        if least is not None and value < least:
            raise cfg.error(f"{entry.key}= needs at least {least}, found {value}", entry.line, Reason.OUT_OF_RANGE)
        return value

    return check


POLICIES = ("constant", "step", "exp", "poly", "steps", "sigmoid", "random", "sgdr")


@dataclass(frozen=True)
class NetOptions:
    """The [net] section. Darknet: parse_net_options.

    ``None`` marks a default that depends on another option, named beside it.
    """

    # the input
    width: int = option(0, least=0)         # of the input, pixels
    height: int = option(0, least=0)        # of the input, pixels
    channels: int = option(0, least=0)      # of the input: 3 for colour
    inputs: int | None = None               # numbers of an input that is no picture; C: height * width * channels
    batch: int = option(1, least=1)         # images an iteration, over all subdivisions
    subdivisions: int = option(1, least=1)  # mini-batches that an iteration is done in
    time_steps: int = option(1, least=1)    # images of a sequence
    letter_box: int = 0                     # 1: pictures keep their proportions, with grey borders

    # the schedule
    max_batches: int = 0                # iterations of the run
    learning_rate: float = .001         # the rate after burn_in
    learning_rate_min: float = .00001   # where policy=sgdr ends
    # how the rate changes; sgdr is cosine annealing
    policy: str = option("constant", choices=POLICIES, others={"cosine": "sgdr", "multistep": "steps"})
    burn_in: int = 0                    # iterations in which the rate rises from 0
    power: float = 4                    # exponent of burn_in, and of policy=poly and random
    step: int = 1                       # iterations, of policy=step and sigmoid
    scale: float = 1                    # factor of policy=step
    steps: tuple[int, ...] = ()         # iterations at which policy=steps changes the rate
    scales: tuple[float, ...] = ()      # its factors
    seq_scales: tuple[float, ...] = ()  # with track, factors of sequential_subdivisions at steps
    gamma: float = 1                    # of policy=exp and sigmoid
    sgdr_cycle: int | None = None       # iterations of one fall of the rate; C: max_batches
    sgdr_mult: int = 2                  # factor of the next cycle's length
    max_chart_loss: float = 20          # upper end of the chart of the loss

    # the optimiser
    momentum: float = .9          # share of the last update in the next
    decay: float = .0001          # weight decay (L2)
    adam: int = 0                 # 1: Adam instead of SGD with momentum
    B1: float = .9                # Adam's decay of the mean
    B2: float = .999              # Adam's decay of the variance
    eps: float = .000001          # Adam's addend
    ema_alpha: float = 0          # decay of the moving average of weights; 0: no average
    loss_scale: float = 1         # factor of the loss in half precision
    try_fix_nan: int = 0          # 1: puts other values where weights and gradients are not finite
    weights_reject_freq: int = 0  # every so many iterations filters that resemble another begin anew
    dynamic_minibatch: int = 0    # 1: with random, smaller images come in larger mini-batches

    # the data
    max_crop: int | None = None  # the shorter side becomes at most this, of a classifier's pictures; C: 2 * width
    min_crop: int | None = None                 # and at least this; C: width
    flip: int = 1                               # 1: half of the pictures are mirrored
    blur: int = 0  # a share of the pictures is blurred, by a window of so many pixels
    gaussian_noise: int = 0                     # deviation of noise in half of the pictures
    mixup: int = 0  # 1: half of the pictures are means of two; 2: cutmix, 3: mosaic, 4: either
    cutmix: int = 0                             # 1: half of a classifier's pictures have a part of another
    mosaic: int = 0                             # 1: half of the pictures are made of four
    mosaic_bound: int = 0                       # 1: boxes in a mosaic end at their picture's border
    angle: float = 0                            # a classifier's pictures are turned by up to so many degrees
    aspect: float = 1                           # they are stretched by up to this factor
    saturation: float = 1                       # changed by up to this factor
    exposure: float = 1                         # changed by up to this factor
    hue: float = 0                              # turned by up to this share of the circle
    resize_step: float = 32                     # sizes of random are multiples of this
    label_smooth_eps: float = 0                 # what a classifier's right class leaves to the others
    equidistant_point: int = 0                  # from this iteration on small gradients of a [yolo] are left out
    badlabels_rejection_percentage: float = 0   # share of the largest ones that is left out in the last quarter
    num_sigmas_reject_badlabels: float = 0      # those so many deviations above the mean are left out there
    contrastive: int = 0                        # 1: pictures come in pairs, two views of one
    contrastive_jit_flip: int = 0               # 1: the views differ in jitter and flip
    contrastive_color: int = 0                  # 1: the views differ in colour
    unsupervised: int = 0                       # 1: labels are not used
    adversarial_lr: float = 0                   # rate of self-adversarial training, which changes pictures; 0: none
    attention: int = 0                          # 1: draws where those changes are
    track: int = 0                              # 1: sequences of consecutive pictures, all changed alike
    augment_speed: int = 2                      # longest step in the list from one picture of a sequence to the next
    # with track, parts of a batch in which pictures follow each other; C: subdivisions
    sequential_subdivisions: int | None = None

    # of C's execution: read, and without effect here
    use_cuda_graph: int = 0                # CUDA graphs
    optimized_memory: int = 0              # less GPU memory
    workspace_size_limit_MB: float = 1024  # of cuDNN
    show_receptive_field: float = 0        # prints receptive fields
