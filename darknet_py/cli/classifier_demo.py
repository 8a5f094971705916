"""``classifier demo``: the likeliest classes of the frames of videos, cameras and streams."""
from __future__ import annotations

import argparse
from contextlib import ExitStack
from typing import TYPE_CHECKING

from darknet_py.cli import demo, demo_flags
from darknet_py.cli.detect import layers_options
from darknet_py.cli.output import say
from darknet_py.errors import printable

if TYPE_CHECKING:
    from darknet_py.inference.classifier import Classifier
    from darknet_py.live.results import Result


def run(arguments: argparse.Namespace) -> int:
    """As ``demo``, with what Darknet prints of classes.

    Darknet: demo_classifier. There -benchmark classifies a black picture, here the first frame.
    """
    arguments.benchmark = arguments.benchmark or arguments.benchmark_layers
    demo_flags.check(arguments)
    say("Classifier Demo")
    with ExitStack() as stack:
        return ClassifierRun(arguments, stack).run()


class ClassifierRun(demo.Run):
    """See ``demo.Run``."""

    def open_network(self, images: int) -> Classifier:
        from darknet_py.cli.classifier import top_of
        from darknet_py.cli.model import make_classifier
        from darknet_py.live.results import show_classes
        arguments = self.arguments
        classifier = make_classifier(arguments, crop=False, **layers_options(arguments, images))
        self.top = top_of(arguments, len(classifier.names))
        for view in self.views:
            draw = not (arguments.dontdraw_bbox or arguments.benchmark)
            view.feed.steps = [*view.feed.steps, show_classes(self.top, draw)]
        return classifier

    def text(self, view: demo.View, result: Result) -> str:
        assert result.prediction is not None
        if self.arguments.benchmark:
            return f"\rFPS: {view.rates.fps:.2f} \t AVG_FPS = {view.rates.average:.2f} \n"
        best = "".join(f"{100 * one.score:.1f}%: {printable(one.name)}\n" for one in result.prediction.top(self.top))
        return f"\rFPS: {view.rates.fps:.2f}  (use -benchmark command line flag for correct measurement)\n{best}\n"

    def tick(self, view: demo.View, result: Result) -> None:
        view.tick(result.seconds)
