"""The command line: ``darknet-py VERB ...``. The only room that prints and picks exit codes.

Flags may stand anywhere, with one dash or two, with _ or - inside, as users of Darknet write them.
"""
from __future__ import annotations

import argparse
import atexit
import gc
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from types import ModuleType

from darknet_py.cli.model import sort_out, spread
from darknet_py.cli.order import check_order
from darknet_py.cli.output import give_up_streams, open_streams, say
from darknet_py.cli.parser import Parser, normalized
from darknet_py.errors import BackendWarning, CfgWarning, DarknetError, cause, one_line

VERBS = {               # verb -> (module with add_arguments, run, perhaps prepared, help); ``verb`` tells it which
    "detect": ("detect", "find objects in pictures: detect CFG WEIGHTS IMAGE..."),
    "demo": ("demo", "find objects in videos, cameras or streams: demo CFG WEIGHTS SOURCE..."),
    "batch": ("batch", "find objects in any number of pictures, into tables: batch CFG WEIGHTS INPUT... -out FOLDER"),
    "serve": ("serve", "find objects for others, over HTTP: serve CFG WEIGHTS [-port 8080]"),
    "train": ("train", "train a network, or go on: train DATA CFG [WEIGHTS]"),
    "evaluate": ("evaluate", "measure a detector, Darknet's way and COCO's: evaluate DATA CFG WEIGHTS"),
    "tune": ("tune", "look for better hyper-parameters in short trials: tune DATA CFG [WEIGHTS]"),
    "detector": ("detector", "Darknet's verbs for detectors: "
                 "detector train|test|demo|map|valid|recall|calc_anchors DATA CFG [WEIGHTS]"),
    "classifier": ("classifier", "Darknet's verbs for classifiers: "
                   "classifier train|valid|predict|demo DATA CFG [WEIGHTS]"),
    "rnn": ("rnn", "Darknet's verbs for character models: rnn train|valid|generate CFG [WEIGHTS]"),
    "convert": ("convert", "to ONNX, OpenVINO, TorchScript, safetensors ... and back: convert CFG WEIGHTS OUT"),
    "quantize": ("quantize", "to INT8, for OpenVINO or as ONNX, with mAP kept: quantize CFG WEIGHTS OUT -data DATA"),
    "nightmare": ("nightmare", "amplify a layer's activations in a picture: nightmare CFG WEIGHTS IMAGE LAYER"),
    "new": ("new", "write a cfg for one's own classes: new ARCHITECTURE -classes N [-size 416] [-data DATA]"),
    "edit": ("edit", "change values of a cfg: edit CFG SECTION.KEY=VALUE..."),
    "dataset": ("dataset", "from a folder of pictures to a data set: dataset SOURCE... [-split .8] [-o OUT]"),
    "check": ("check", "look for mistakes before training: check DATA [CFG]"),
    "download": ("download", "fetch weights, whole and checked: download NAME... [-list]"),
    "zoo": ("zoo", "the networks in cfg/: cost, accuracy, whether their weights are here"),
    "benchmark": ("benchmark", "time, memory and accuracy of the backends: benchmark [CFG [WEIGHTS]]"),
    "profile": ("profile", "the time of each layer: profile CFG [WEIGHTS]"),
    "info": ("info", "the table of layers and its sums: info CFG [WEIGHTS]"),
    "partial": ("maintenance", "write the first layers' weights: partial CFG WEIGHTS OUT N"),
    "average": ("maintenance", "the mean of several files' weights: average CFG OUT WEIGHTS..."),
    "oneoff": ("maintenance", "weights of another network: oneoff CFG WEIGHTS OUT [LAYER]"),
    "rgbgr": ("maintenance", "weights for pictures with red and blue swapped: rgbgr CFG WEIGHTS OUT"),
    "rescale": ("maintenance", "weights for inputs in [0, 1] instead of [-1, 1]: rescale CFG WEIGHTS OUT"),
    "reset": ("maintenance", "batch normalisation into the weights, for the same cfg: reset CFG WEIGHTS OUT"),
    "denormalize": ("maintenance", "batch normalisation into the weights, and away: denormalize CFG WEIGHTS OUT"),
    "normalize": ("maintenance", "batch normalisation where there is none: normalize CFG WEIGHTS OUT"),
    "statistics": ("maintenance", "mean and variance of each layer's weights: statistics CFG WEIGHTS"),
    "ops": ("maintenance", "multiplications and additions for an image: ops CFG"),
    "visualize": ("maintenance", "a picture of a layer's filters: visualize CFG WEIGHTS [OUT]"),
    "preview": ("preview", "a grid of augmented training pictures: preview DATA CFG"),
    "schedule": ("schedule", "draw the learning rate over the iterations: schedule CFG [-out FILE]"),
    "doctor": ("doctor", "what an issue report needs: versions, hardware, backends, caches: doctor [-json FILE]"),
    "completion": ("completion", "completes words in the shell: completion bash|zsh|fish"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit code: 0; 1 for an error in the input; 2 for one in the arguments; what
    shells give for the signals: 130 after Ctrl-C, 141 where the reader of the output has gone, as in ``| head -1``."""
    open_streams()
    if arguments is None:               # a process of its own: to look through all that torch imports takes .1 s,
        gc.set_threshold(50_000, 20, 100)
        atexit.register(gc.freeze)      # and .4 s at its end
    try:
        try:
            return _run(list(sys.argv[1:] if arguments is None else arguments))
        except DarknetError as error:
            say(f"darknet-py: {error}", error=True)
            return 1
        except MemoryError as error:
            say(f"darknet-py: there is not enough memory: {error}".rstrip(": "), error=True)
            return 1
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        give_up_streams()
        return 141
    except KeyboardInterrupt:
        print("darknet-py: stopped", file=sys.stderr)
        return 130
    except OSError as error:                # of the output, or one that no reader or writer of a file knew
        with suppress(OSError):
            place = "cannot write the output" if error.filename is None else error.filename
            say(one_line(f"darknet-py: {place}: {cause(error)}"), error=True)
        give_up_streams()
        return 1


def _run(typed: list[str]) -> int:
    words = [normalized(word) for word in typed]
    if words[:1] == ["help"]:
        words = [*(word for word in words[1:2] if word != "help"), "--help"]
    verb = next((word for word in words if word in VERBS), None)
    if verb is None or (words[0] != verb and not words[0].startswith("-")):     # not a verb, then one as a word of it
        return _without_verb(words)
    words.remove(verb)
    parser = parser_of(verb)
    parser.set_defaults(typed=typed)
    module = module_of(verb)
    parsed = parser.parse_intermixed_args(getattr(module, "prepared", list)(spread(words)))
    check_order(parsed, parser)
    sort_out(parsed, parser.error)
    with warnings.catch_warnings():
        for category in (CfgWarning, BackendWarning):
            warnings.simplefilter("always", category)
        warnings.showwarning = lambda message, *_, **__: say(f"warning: {message}", error=True)
        return module.run(parsed)


def module_of(verb: str) -> ModuleType:
    """The module of a verb."""
    return import_module(f"darknet_py.cli.{VERBS[verb][0]}")


def parser_of(verb: str) -> Parser:
    """The parser of a verb's words."""
    module = module_of(verb)
    parser = Parser(f"darknet-py {verb}", description=module.__doc__, allow_abbrev=False,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.set_defaults(verb=verb)
    parser.words = VERBS[verb][1].rpartition(f": {verb} ")[2]
    module.add_arguments(parser)
    return parser


def _without_verb(words: Sequence[str]) -> int:
    """--help, --version, a short usage for no words at all, or the error for anything else."""
    from darknet_py.cli.usage import short_usage, unknown_verb, usage
    unknown = next((word for word in words if not word.startswith("-")), None)
    if unknown is not None:
        say(f"darknet-py: {unknown_verb(unknown, words, VERBS)}", error=True)
    elif "--version" in words:
        from darknet_py.utils.version import __version__
        print(f"darknet-py {__version__}")
        return 0
    elif "--help" in words:
        print(usage(VERBS), end="")
        return 0
    else:
        print(short_usage(), end="", file=sys.stderr)
    return 2
