"""Convert a network to the format of another runtime, or its weights back from one.

OUT's extension tells the format: .onnx, .xml (OpenVINO IR), .torchscript, .pt2 (torch.export), .safetensors, .pt (a
state dict), .weights. WEIGHTS may be a .weights file, or a .safetensors file or PyTorch state dict, of ours or of
another program, whose tensors are then matched by order and shape; nothing in them is executed.

Each conversion ends with a check: both run on random images, and on those of -image, and the worst difference is
printed. If it is too large nothing is written.

A model carries the cfg, the class names, the thresholds and how its input is made, so it runs by itself:
darknet-py detect model.onnx dog.jpg. Other programs read the same from its metadata, see docs/deploy.md.
"""
from __future__ import annotations

import argparse

from darknet_py.cli import model
from darknet_py.cli.output import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    model.add_arguments(parser)
    parser.add_argument("out", help="the file to write")
    parser.add_argument("--to", metavar="FORMAT", help="the format, where OUT's extension does not tell it: onnx, xml, "
                        "torchscript, pt2, safetensors, pt, weights")
    parser.add_argument("--outputs", choices=("heads", "boxes", "nms"), default="heads", help="of ONNX and OpenVINO: "
                        "what the heads give (default); all boxes and scores; or what is left of them behind -thresh "
                        "and non-maximum suppression")
    parser.add_argument("--thresh", type=float, help="least score: of -outputs nms (default: .25), and for those that "
                        "run the file alone")
    parser.add_argument("--nms", type=float, help="overlap that suppresses, likewise (default: .45)")
    parser.add_argument("--names", help="a file with a class name a line; the file says them")
    parser.add_argument("--data", help="a .data file, for its names")
    parser.add_argument("--letter-box", action="store_true", help="the file says that pictures keep their proportions")
    parser.add_argument("--opset", type=int, default=17, help="of ONNX (default: 17)")
    parser.add_argument("--fp16", action="store_true", help="half precision inside; inputs and outputs stay float32")
    parser.add_argument("--batch", type=int, metavar="N", help="a fixed number of images (default: any number)")
    parser.add_argument("--resizable", action="store_true", help="leave the sides of images free, where the network "
                        "lets them be")
    model.add_cfg_flags(parser)
    parser.add_argument("--width", type=int, help="the same as -size, of one side")
    parser.add_argument("--height", type=int, help="the same as -size, of one side")
    parser.add_argument("--image", action="append", default=[], metavar="PATH", help="compare on this picture too; may "
                        "be given several times")
    parser.add_argument("--strict", action="store_true", help="what Darknet would pass over in the cfg is an error")
    parser.add_argument("--no-check", action="store_true", help="do not compare")


def run(arguments: argparse.Namespace) -> int:
    from darknet_py.convert import convert
    from darknet_py.convert.formats import ExportOptions
    options = ExportOptions(arguments.outputs, arguments.opset, arguments.fp16, arguments.batch, arguments.resizable,
                    arguments.thresh, arguments.nms)
    cfg = model.cfg_of(arguments)
    width, height = model.size_of(arguments, cfg)
    arguments.weights = model.weights_of(arguments.cfg, arguments.weights)
    done = convert(cfg, arguments.weights, arguments.out, to=arguments.to, options=options,
                   width=width, height=height, check=not arguments.no_check, images=arguments.image,
                   names=arguments.names, data=arguments.data, letterbox=arguments.letter_box or None)
    say(f"read {arguments.weights}: {done.source}")
    for path, size in done.files.items():
        say(f"wrote {path}: {size:,} bytes")
    say("not compared" if done.parity is None else f"compared: {done.parity}")
    return 0
