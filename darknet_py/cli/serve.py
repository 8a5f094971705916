"""Serve networks over HTTP: pictures in, detections out, with a page to try them on.

POST /detect takes pictures (multipart, JSON, or an image file as it is), /docs says more. Ctrl-C and SIGTERM end it
once all that was asked is answered.
"""
from __future__ import annotations

import argparse

from darknet_py.cli import detect
from darknet_py.cli.demo import caught_signals
from darknet_py.cli.output import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("cfg", help="the network, a .cfg file")
    parser.add_argument("weights", help="its .weights file")
    parser.add_argument("--data", help="a .data file, for its names")
    detect.add_model_flags(parser)
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--bind", default="127.0.0.1")


def run(arguments: argparse.Namespace) -> int:
    from pathlib import Path

    from darknet_py.inference.detector import Detector
    from darknet_py.live.service.server import listen, serve
    from darknet_py.live.service.service import Service
    from darknet_py.live.service.settings import Settings
    listener = listen(arguments.bind, arguments.port)
    detector = Detector(arguments.cfg, arguments.weights, arguments.names, data=arguments.data,
                        **detect.backend_options(arguments))
    service = Service({Path(arguments.cfg).stem: detector}, Settings())
    with caught_signals() as signals:
        host, port = listener.getsockname()[:2]
        say(f"http://{host}:{port}/")
        serve(service, listener, signals, 30, lambda line: say(f"darknet-py: {line}", error=True))
    return 130 if signals and signals[0] == 2 else 0
