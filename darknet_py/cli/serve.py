"""Serve networks over HTTP: pictures in, detections out, and a page to try them on.

POST /detect takes pictures (multipart, JSON, or an image file as it is); / is the page, /docs says more. Ctrl-C and
SIGTERM end it once all that was asked is answered. -config FILE.toml holds flags by their names: port = 8080.
"""
from __future__ import annotations

import argparse
import os
import signal
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from darknet_py.cli import detect, model
from darknet_py.cli.demo import caught_signals
from darknet_py.cli.output import say

if TYPE_CHECKING:
    from darknet_py.inference.detector import Detector
    from darknet_py.live.service.settings import Model

PACKAGES = {"fastapi": "fastapi", "uvicorn": "uvicorn", "websockets": "websockets",     # of Python -> of pip
            "python_multipart": "python-multipart", "prometheus_client": "prometheus-client"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from darknet_py.live.service.settings import OPTIONS
    model.add_arguments(parser, optional=True)
    parser.add_argument("--data", help="a .data file, for its names")
    detect.add_model_flags(parser)
    parser.add_argument("--config", metavar="FILE", help="a TOML file with flags by their names, and cfg and weights; "
                        "what is typed counts more")
    for name, option in OPTIONS.items():
        flag = f"--{name.replace('_', '-')}"
        if option.kind is bool:
            parser.add_argument(flag, action="store_true", help=option.text)
        else:
            how: dict[str, Any] = {"action": "append"} if option.kind is list else {"type": option.kind}
            parser.add_argument(flag, metavar=option.word, help=option.text, **how)


def run(arguments: argparse.Namespace) -> int:
    from darknet_py.errors import DarknetError
    from darknet_py.live.service.settings import Settings, models_of
    if missing := [package for name, package in PACKAGES.items() if find_spec(name) is None]:
        raise DarknetError(f"serve needs the package {missing[0]}: pip install {' '.join(missing)}")
    values = settings_of(arguments)
    models = models_of(values)
    # OpenCV's own limit, for pictures whose headers contradict themselves; read when it is imported
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(values["max_pixels"]))
    from darknet_py.live.http_streams import listen
    from darknet_py.live.service.server import MOST_CONNECTIONS, serve
    from darknet_py.live.service.service import Service
    with listen(values["bind"], values["port"], MOST_CONNECTIONS) as listener, caught_signals() as signals:
        service = Service({one.name: make_detector(one, arguments, values) for one in models},
                          Settings.of(values))
        for engine in service.engines.values():
            engine.detector.backend.leave_cores()
        host, port = listener.getsockname()[:2]
        warn(host, values["token"])
        say(f"serving {', '.join(service.engines)} at http://{f'[{host}]' if ':' in host else host}:{port}/")
        serve(service, listener, signals, values["drain"], lambda line: say(f"darknet-py: {line}", error=True))
        say(f"stopped after {service.metrics.answered} requests")
    return 130 if signals and signals[0] == signal.SIGINT else 0


def settings_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """The values of all options: those typed, else those of the file, else a model's thresholds, else the defaults."""
    from darknet_py.cfg.metadata import is_model, stored_cfg
    from darknet_py.live.service.settings import (
        NETWORK,
        OPTIONS,
        TOKEN_VARIABLE,
        check,
        check_token,
        read_config,
    )
    found = {} if arguments.config is None else read_config(arguments.config)
    values: dict[str, Any] = {}
    for name, option in (OPTIONS | NETWORK).items():
        typed = getattr(arguments, name)
        if typed is None or typed is False:
            values[name] = found.get(name, option.default)
        else:
            check(typed, option, f"-{name}")
            values[name] = typed
    stored = stored_cfg(values["cfg"]).stored if values["cfg"] is not None and is_model(values["cfg"]) else None
    for name in ("thresh", "nms"):
        if stored is not None and getattr(stored, name) is not None and getattr(arguments, name) is None:
            values[name] = found.get(name, getattr(stored, name))
    if values["token"] is None:
        values["token"] = os.environ.get(TOKEN_VARIABLE)
    check_token(values["token"])
    return values


def make_detector(served: Model, arguments: argparse.Namespace, values: dict[str, Any]) -> Detector:
    """The detector of a network."""
    from darknet_py.inference.detector import Detector
    from darknet_py.live.service.service import MOST_CANDIDATES
    for name in ("backend", "precision", "device"):
        setattr(arguments, name, values[name])
    arguments.cfg, arguments.strict = served.cfg, values["strict"]
    cfg, weights = model.cfg_of(arguments), model.weights_of(served.cfg, served.weights)
    detector = Detector(cfg, weights, served.names, data=served.data, letterbox=values["letter_box"] or None,
                        size=model.given_size(arguments), device=detect.device(arguments),
                        max_candidates=MOST_CANDIDATES, **detect.backend_options(arguments))
    model.warn_of_random(detector.outline, weights)
    return detector


def warn(host: str, token: str | None) -> None:
    """Warn of a service that anyone can use."""
    from darknet_py.live.http_streams import is_loopback
    if token is None and not is_loopback(host):
        say(f"warning: {host} is open to others, who need no token; -token or -bind 127.0.0.1 changes that", error=True)
