"""Short training runs, what they say, and a small classifier."""
from dataclasses import dataclass, field
from pathlib import Path

from darknet_py import load_network, train

QUICK = {"device": "cpu", "seed": 3, "workers": 0, "charts": None, "report": False}
CLASSIFIER = """[net]
batch=32
width=24
height=24
channels=3
learning_rate=.05
max_batches=60
policy=poly
power=2
min_crop=24
max_crop=28
label_smooth_eps=.1
cutmix=1
mosaic=1

[convolutional]
batch_normalize=1
filters=16
size=3
stride=2
pad=1
activation=leaky

[convolutional]
batch_normalize=1
filters=32
size=3
stride=2
pad=1
activation=leaky

[convolutional]
filters=6
size=1
activation=linear

[avgpool]

[softmax]
"""


@dataclass(frozen=True)
class Step:
    iteration: int
    loss: float = 2.
    average: float = 2.5
    rate: float = .001
    seconds: float = .5
    waited: float = .1
    images: int = 64
    hours_left: float = 1.5
    figures: dict[str, float] = field(default_factory=lambda: {"16 iou": .75})


def change(path, old, new):
    text = Path(path).read_text()
    assert old in text
    Path(path).write_text(text.replace(old, new))


def collect(*arguments, **settings):
    events = []
    run = train(*arguments, on_event=events.append, **QUICK | settings)
    return run, events


def of(events, kind):
    return [event for event in events if isinstance(event, kind)]


def tensors(path):
    network = load_network("tiny.cfg", path)
    return [blob.tensor.detach() for layer in network.layers for blob in layer.blobs()]
