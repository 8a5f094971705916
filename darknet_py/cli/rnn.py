"""Darknet's verbs for character models.

rnn train CFG [WEIGHTS] -file TEXT       train one, as darknet-py train TEXT CFG [WEIGHTS] does
rnn valid CFG WEIGHTS < TEXT             its perplexity on the standard input, or on -file TEXT
rnn generate CFG WEIGHTS                 sample text after a seed
"""
from __future__ import annotations

import argparse
import os
import sys

from darknet_py.cli import model, train
from darknet_py.cli.detect import device
from darknet_py.cli.model import read_network
from darknet_py.cli.progress import Progress

TEXT = "data/shakespeare.txt"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=["train", "valid", "generate"], help="what to do")
    parser.add_argument("cfg", help=model.CFG)
    parser.add_argument("weights", nargs="?", help="its weights file; for train one to start from, if any")
    parser.add_argument("--file", metavar="TEXT", help=f"train: the text (default {TEXT}); valid: the text (default: "
                        "the standard input)")
    model.add_set_flag(parser)
    parser.add_argument("--i", type=int, metavar="N", help="the GPU to use; -1 for none")
    parser.add_argument("--device", help="auto, cpu, cuda, cuda:0 ... (default auto)")
    parser.add_argument("--strict", action="store_true", help="what Darknet would pass over in the cfg is an error")
    train.add_flags(parser, seed="--srand")
    train.add_stream_flags(parser)
    parser.add_argument("--seed", dest="text", metavar="TEXT", default="\n\n", help="valid, generate: what the network "
                        "reads first (default two line feeds)")
    parser.add_argument("--len", type=int, metavar="N", default=1000, help="generate: characters (default 1000)")
    parser.add_argument("--temp", type=float, default=.7, help="generate: the lower, the sharper the distribution "
                        "(default .7)")
    parser.add_argument("--tokens", metavar="FILE", help="generate: what to print for each number, a line each")


def run(arguments: argparse.Namespace) -> int:
    from darknet_py.errors import DarknetError
    if arguments.action == "train":
        if arguments.set:
            raise DarknetError("rnn train takes no -set; darknet-py edit writes the cfg")
        arguments.data = TEXT if arguments.file is None else arguments.file
        arguments.thresh, arguments.iou_thresh, arguments.points = .25, .5, 0        # of detectors
        return train.run(arguments)
    model.require_weights(arguments, f"rnn {arguments.action} needs CFG WEIGHTS")
    return valid(arguments) if arguments.action == "valid" else generate(arguments)


def valid(arguments: argparse.Namespace) -> int:
    from darknet_py.errors import DataError, Reason, cause
    from darknet_py.inference.char_rnn import Perplexity, perplexity
    from darknet_py.utils.files import read_regular
    network = read_network(arguments).network
    try:
        data = sys.stdin.buffer.read() if arguments.file is None else read_regular(arguments.file)
    except OSError as error:
        raise DataError(f"{arguments.file}: cannot read the text: {cause(error)}", Reason.reading(error)) from None

    def show(result: Perplexity) -> None:
        progress.update(result.characters, f"perplexity {result.each:.4f}")

    with Progress(len(data) - 1, sys.stderr) as progress:
        result = perplexity(network, data, os.fsencode(arguments.text), device=device(arguments), progress=show)
    print(result.text())
    return 0


def generate(arguments: argparse.Namespace) -> int:
    import numpy as np

    from darknet_py.data.datafile import read_lines
    from darknet_py.errors import DarknetError, DataError, Reason
    from darknet_py.inference import char_rnn as characters
    if arguments.seed is not None and arguments.seed < 0:
        raise DarknetError(f"-srand needs a number from 0 on, found {arguments.seed}")
    network = read_network(arguments).network
    count = characters.count_characters(network)
    seed = os.fsencode(arguments.text)
    if arguments.tokens is not None:
        symbols = [os.fsencode(f"{line} ") for line in read_lines(arguments.tokens)]
        if len(symbols) < count:
            raise DataError(f"{arguments.tokens}: needs {count} tokens, a line each, found {len(symbols)}",
                            Reason.WRONG_COUNT)
    elif count > 256:
        raise DataError(f"{arguments.cfg}: knows {count} characters, more than there are bytes; -tokens FILE says what "
                        "they are", Reason.OUT_OF_RANGE)
    else:
        symbols = [bytes([value]) for value in range(count)]
    made = characters.generate(network, arguments.len, seed, arguments.temp, np.random.default_rng(arguments.seed),
                               device=device(arguments))
    out = sys.stdout.buffer
    out.write(b"".join(symbols[character] for character in seed or b"\0"))
    out.flush()
    for character in made:
        out.write(symbols[character])
        out.flush()
    out.write(b"\n")
    out.flush()
    return 0
