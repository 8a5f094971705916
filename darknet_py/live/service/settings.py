"""Settings of the service: names, types and bounds, for flags and for the TOML file that may hold them."""
from __future__ import annotations

import importlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from darknet_py.errors import DataError, Reason, cause, shown, suggestion
from darknet_py.utils.files import read_regular
from darknet_py.zoo.models import is_name, stands_alone

MOST_CONFIG = 1 << 20           # bytes of a TOML file
MOST_MODELS = 64
NAME = re.compile(r"[\w.-]{1,64}")
TOKEN = re.compile(r"[!-~]{1,1000}")
TOKEN_VARIABLE = "DARKNET_PY_TOKEN"
WORDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", list: "a list of texts"}


class Option(NamedTuple):
    """A setting: its type, default (None: not set), bounds of a number, the word for its value, its help."""

    kind: type
    default: Any
    least: float = 0.
    most: float = 0.
    word: str = "N"
    text: str = ""


OPTIONS = {
    "port": Option(int, 8080, 0, 65535, "PORT", "0 lets the system choose (default 8080)"),
    "bind": Option(str, "127.0.0.1", word="ADDRESS", text="the address to listen at; 0.0.0.0 for all of this machine's "
                   "(default 127.0.0.1: for this machine alone)"),
    "token": Option(str, None, word="TOKEN", text="that requests must bear, as Authorization: Bearer TOKEN; better in "
                    f"{TOKEN_VARIABLE} in the environment, which other users do not see"),
    "thresh": Option(float, .25, 0, 1, "X", "least score, of requests that name none (default .25)"),
    "nms": Option(float, .45, 0, 1, "X", "overlap that suppresses, of requests that name none (default .45)"),
    "batch": Option(int, None, 1, 256, "N", "the most pictures that run together (default 8 where the backend takes "
                    "less time for several, else 1)"),
    "wait": Option(float, 0., 0, 10, "SECONDS", "how long a batch waits to be full (default 0)"),
    "queue": Option(int, 128, 1, 100_000, "N", "pictures of a network that are at work or wait; more are refused "
                    "(default 128)"),
    "max_body": Option(int, 1 << 25, 1024, 1 << 31, "BYTES", "of a request (default 33554432)"),
    "max_pixels": Option(int, 1 << 26, 1, 1 << 30, "N", "of a picture (default 67108864)"),
    "time_limit": Option(float, 30., .01, 3600, "SECONDS", "for a request's body, and for its answer (default 30)"),
    "drain": Option(float, 30., 1, 3600, "SECONDS", "at the end, for requests that were begun (default 30)"),
    "allow_urls": Option(bool, False, text="fetch pictures from URLs in JSON bodies, from public addresses"),
    "allow_private_urls": Option(bool, False, text="and from addresses of this machine and its networks"),
    "model": Option(list, None, word="NAME=CFG,WEIGHTS", text="another network, repeated for more; ,NAMES behind them: "
                    "a file with its class names, or a .data file")}
# of the network, which other verbs have too
NETWORK = {"cfg": Option(str, None), "weights": Option(str, None), "data": Option(str, None),
           "names": Option(str, None), "letter_box": Option(bool, False), "strict": Option(bool, False),
           "device": Option(str, None), "backend": Option(str, None), "precision": Option(str, None)}
PATHS = ("cfg", "weights", "data", "names")


@dataclass
class Settings:
    """What the service does with requests; see ``OPTIONS``."""

    thresh: float = OPTIONS["thresh"].default
    nms: float = OPTIONS["nms"].default
    token: str | None = OPTIONS["token"].default
    allow_urls: bool = OPTIONS["allow_urls"].default
    allow_private_urls: bool = OPTIONS["allow_private_urls"].default
    max_body: int = OPTIONS["max_body"].default
    max_pixels: int = OPTIONS["max_pixels"].default
    queue: int = OPTIONS["queue"].default
    batch: int | None = OPTIONS["batch"].default
    wait: float = OPTIONS["wait"].default
    time_limit: float = OPTIONS["time_limit"].default

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Settings:
        """Those among the values of ``OPTIONS``."""
        return cls(**{one.name: values[one.name] for one in fields(cls)})


class Model(NamedTuple):
    """A network to serve: its name and files. cfg, weights, names, data: as for ``Detector``."""

    name: str
    cfg: str
    weights: str | None
    names: str | None = None
    data: str | None = None


def read_config(path: str | os.PathLike) -> dict[str, Any]:
    """Values of ``OPTIONS`` and ``NETWORK`` from a TOML file; its paths are relative to the working directory, else to
    the file's folder.

    Raises:
        DataError: it cannot be read; an unknown key; a value of another type or beyond its bounds.
    """
    try:
        text = read_regular(path, MOST_CONFIG).decode()
    except OSError as error:
        raise DataError(f"{path}: cannot read the settings: {cause(error)}", Reason.reading(error)) from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected UTF-8, found byte {error.object[error.start]:#04x} at {error.start}",
                        Reason.WRONG_FORMAT) from None
    toml = _toml()
    try:
        found = toml.loads(text)
    except (toml.TOMLDecodeError, RecursionError) as error:
        raise DataError(f"{path}: no TOML: {error}", Reason.SYNTAX) from None
    known = OPTIONS | NETWORK
    for key, value in found.items():
        if key not in known:
            raise DataError(f"{path}: {key}: expected one of {', '.join(known)}"
                            + suggestion(key, known), Reason.UNKNOWN_NAME)
        check(value, known[key], f"{path}: {key}")
    from darknet_py.data.dataset import find_near  # which imports much, and --help needs none of it
    for key in PATHS:
        if key in found and not (key == "cfg" and is_name(found[key])):
            found[key] = str(find_near(found[key], Path(path)))
    for number, text in enumerate(found.get("model", ())):
        name, equals, files = text.partition("=")
        near = [str(find_near(one, Path(path))) if one and not is_name(one) else one for one in files.split(",")]
        found["model"][number] = name + equals + ",".join(near)
    return found


def check(value: Any, option: Option, where: str) -> None:
    """Raises:
        DataError: a value is of another type, or beyond the bounds.
    """
    kind = option.kind
    right = type(value) is kind or (kind is float and type(value) is int)
    if not right or (kind is list and any(type(one) is not str for one in value)):
        raise DataError(f"{where}: expected {WORDS[kind]}, found {shown(value)}", Reason.BAD_VALUE)
    if kind in (int, float) and not option.least <= value <= option.most:
        raise DataError(f"{where}: expected a number from {option.least:g} to {option.most:g}, found {shown(value)}",
                        Reason.OUT_OF_RANGE)


def check_token(token: str | None) -> None:
    """Raises:
        DataError: a token that a header cannot hold.
    """
    if token is not None and not TOKEN.fullmatch(token):
        raise DataError("the token: expected up to 1000 characters of ASCII, without spaces", Reason.BAD_VALUE)


def models_of(values: Mapping[str, Any]) -> list[Model]:
    """The networks that the values of ``OPTIONS`` and ``NETWORK`` name, the default one first.

    Raises:
        DataError: none, too many, a part is missing, or two have the same name.
    """
    found = []
    if values["cfg"] is not None:
        if values["weights"] is None and not stands_alone(values["cfg"]):
            raise DataError(f"expected CFG WEIGHTS, found {values['cfg']} alone", Reason.MISSING_KEY)
        stem = re.sub(r"[^\w.-]", "_", Path(values["cfg"]).stem)[:64]
        found.append(Model(stem or "network", values["cfg"], values["weights"], values["names"], values["data"]))
    found += map(_model, values["model"] or [])
    if not found:
        raise DataError("expected CFG WEIGHTS, or -model NAME=CFG,WEIGHTS", Reason.MISSING_KEY)
    if len(found) > MOST_MODELS:
        raise DataError(f"expected at most {MOST_MODELS} networks, found {len(found)}", Reason.TOO_LARGE)
    names = [model.name for model in found]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise DataError(f"-model {twice}: there are two networks of that name", Reason.DUPLICATE)
    return found


def _model(text: str) -> Model:
    name, equals, files = text.partition("=")
    paths = files.split(",")
    if not equals or not NAME.fullmatch(name) or not all(paths) or not (len(paths) in (2, 3) or stands_alone(files)):
        raise DataError("-model: expected NAME=CFG,WEIGHTS, NAME=CFG,WEIGHTS,NAMES or NAME= and a network of "
                        f"the zoo, found {text[:200]}", Reason.BAD_VALUE)
    if len(paths) == 1:
        return Model(name, files, None)
    if len(paths) == 2:
        return Model(name, *paths)
    return Model(name, *paths[:2], **{"data" if paths[2].endswith(".data") else "names": paths[2]})


def _toml() -> Any:
    for name in ("tomllib", "tomli"):           # Python 3.10 has none
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise DataError("-config needs the package tomli: pip install tomli", Reason.UNSUPPORTED)

