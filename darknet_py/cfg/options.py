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
    width: int = option(0, least=0)
    height: int = option(0, least=0)
    channels: int = option(0, least=0)
    inputs: int | None = None                       # C: height * width * channels
    batch: int = option(1, least=1)                 # images an iteration, over all subdivisions
    subdivisions: int = option(1, least=1)
    time_steps: int = option(1, least=1)
    letter_box: int = 0

    # the schedule
    max_batches: int = 0
    learning_rate: float = .001
    learning_rate_min: float = .00001
    policy: str = option("constant", choices=POLICIES, others={"cosine": "sgdr", "multistep": "steps"})
    burn_in: int = 0
    power: float = 4
    step: int = 1
    scale: float = 1
    steps: tuple[int, ...] = ()
    scales: tuple[float, ...] = ()
    seq_scales: tuple[float, ...] = ()
    gamma: float = 1
    sgdr_cycle: int | None = None                   # C: max_batches
    sgdr_mult: int = 2

    # the optimiser
    momentum: float = .9
    decay: float = .0001
    adam: int = 0
    B1: float = .9
    B2: float = .999
    eps: float = .000001
    ema_alpha: float = 0
    loss_scale: float = 1
    try_fix_nan: int = 0
    weights_reject_freq: int = 0
    dynamic_minibatch: int = 0

    # the data
    max_crop: int | None = None                     # C: 2 * width
    min_crop: int | None = None                     # C: width
    flip: int = 1
    blur: int = 0
    gaussian_noise: int = 0
    mixup: int = 0
    cutmix: int = 0
    mosaic: int = 0
    mosaic_bound: int = 0
    angle: float = 0
    aspect: float = 1
    saturation: float = 1
    exposure: float = 1
    hue: float = 0
    resize_step: float = 32
    label_smooth_eps: float = 0
    equidistant_point: int = 0
    badlabels_rejection_percentage: float = 0
    num_sigmas_reject_badlabels: float = 0
    contrastive: int = 0
    contrastive_jit_flip: int = 0
    contrastive_color: int = 0
    unsupervised: int = 0
    attention: int = 0
    adversarial_lr: float = 0
    track: int = 0
    augment_speed: int = 2
    sequential_subdivisions: int | None = None      # C: subdivisions

    # of C's execution: read, and without effect here
    use_cuda_graph: int = 0
    optimized_memory: int = 0
    workspace_size_limit_MB: float = 1024
    max_chart_loss: float = 20
    show_receptive_field: float = 0
