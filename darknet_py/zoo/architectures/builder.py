"""Builder of cfg texts: layers with their options, appended one by one. It knows sections as text only."""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

NEAR = 9            # layers up to so far back are counted from here, others from the start
VARIANTS = {            # variant -> why an architecture may have no place for it
    "sam": "it has SAM already, or no heads of YOLOv3's kind",
    "gaussian": "its heads are Gaussian already, or none of YOLOv3's kind",
    "spp": "it has SPP already, or no neck to put it in",
}
ONLY_YOLO = ("new_coords", "objectness_smooth", "focal_loss", "embedding_layer")     # what [Gaussian_yolo] lacks
NET = {             # the keys of [net], in order, under the comments that they get
    "the input": ("width", "height", "channels"),
    "images an iteration, and the parts it is done in": ("batch", "subdivisions"),
    "the schedule": ("learning_rate", "burn_in", "max_batches", "policy", "steps", "scales", "power"),
    "the optimiser": ("momentum", "decay", "ema_alpha"),
    "augmentation": ("letter_box", "min_crop", "max_crop", "angle", "aspect", "saturation", "exposure", "hue", "flip",
                     "blur", "mosaic", "cutmix", "label_smooth_eps"),
}


class Draft:
    """Layers in order, with comments over the parts that they make up.

    Each method that adds a layer returns its number, which is how other layers refer to it. A layer reads the one
    before it, ``last``, so ``at(number)`` goes back to another one first.

    Attributes:
        classes: of the heads.
        own: the variants, of ``VARIANTS``, that the architecture has by definition.
        variants, applied: the variants asked for, and those of them that were built.
        activation: of the convolutions that name none.
        last: the number of the last layer, -1 at the start.
    """

    def __init__(self, classes: int, variants: Iterable[str] = ()):
        self.classes, self.variants = classes, frozenset(variants)
        self.own, self.applied = frozenset[str](), set[str]()
        self.activation = "leaky"
        self._sections: list[str] = []
        self._channels: list[int] = []

    @property
    def last(self) -> int:
        return len(self._channels) - 1

    def channels(self, layer: int | None = None) -> int:
        """How many channels a layer has, the last one if none is named."""
        return self._channels[self.last if layer is None else layer]

    def applies(self, variant: str) -> bool:
        """Whether to build a variant here; marks it as applied."""
        if variant in self.variants - self.own:
            self.applied.add(variant)
        return variant in self.own | self.applied

    def part(self, comment: str) -> None:
        """A comment over the layers that follow."""
        self._sections.append(f"# {self.last + 1}: {comment}")

    def add(self, kind: str, channels: int, **options: Any) -> int:
        """Any layer, with its options in the order given; those that are None are left out."""
        self._channels.append(channels)
        self._sections.append(section(kind, options))
        return self.last

    def conv(self, filters: int, size: int = 1, stride: int = 1, *, activation: str | None = None, norm: bool = True,
             **more: Any) -> int:
        """A convolution that keeps the size, or with a stride divides it."""
        return self.add("convolutional", filters, batch_normalize=1 if norm else None, filters=filters, size=size,
                        stride=stride, pad=1, activation=self.activation if activation is None else activation, **more)

    def convs(self, *filters: int) -> int:
        """A bottleneck sequence: kernels of 1 x 1 and 3 x 3 take turns."""
        for turn, number in enumerate(filters):
            self.conv(number, 3 if turn % 2 else 1)
        return self.last

    def at(self, layer: int) -> int:
        """Go on from an earlier layer."""
        return layer if layer == self.last else self.route(layer)

    def route(self, *layers: int, **more: Any) -> int:
        """The channels of some layers, or with groups= and group_id= a share of them."""
        channels = sum(map(self.channels, layers)) // more.get("groups", 1)
        return self.add("route", channels, layers=[self._reference(layer) for layer in layers], **more)

    def shortcut(self, *layers: int, activation: str = "linear", **more: Any) -> int:
        """The sum of the last layer and others."""
        return self.add("shortcut", self.channels(), **{"from": [self._reference(layer) for layer in layers]},
                        activation=activation, **more)

    def residual(self, *filters: int) -> int:
        """A bottleneck sequence with a shortcut around it."""
        start = self.last
        self.convs(*filters)
        return self.shortcut(start)

    def maxpool(self, size: int, stride: int, **more: Any) -> int:
        return self.add("maxpool", self.channels(), size=size, stride=stride, **more)

    def upsample(self, stride: int = 2) -> int:
        return self.add("upsample", self.channels(), stride=stride)

    def lateral(self, level: int, filters: int) -> int:
        """The last features, upsampled, concatenated with those of a finer level."""
        self.conv(filters)
        above = self.upsample()
        self.at(level)
        return self.route(self.conv(filters), above)

    def spp(self, sizes: Sequence[int] = (5, 9, 13), *, ascending: bool = False) -> int:
        """Spatial pyramid pooling (He et al. 2015): max pooling with three windows, concatenated with its input.

        sizes: of the windows, ascending.
        ascending: the input comes first, then the windows ascending; else descending, and the input last.
        """
        start = self.last
        pools = []
        for size in sizes:
            self.at(start)
            pools.append(self.maxpool(size, 1))
        return self.route(start, *pools) if ascending else self.route(*reversed(pools), start)

    def optional_spp(self) -> None:
        """SPP and a convolution back to as many channels, if the variant is asked for."""
        if self.applies("spp"):
            channels = self.channels()
            self.spp()
            self.conv(channels)

    def sam(self) -> int:
        """The spatial attention of YOLOv4 (figure 5): each value times a weight in [0, 1]."""
        start = self.last
        self.conv(self.channels(), activation="logistic")
        return self.add("sam", self.channels(), **{"from": self._reference(start)})

    def scale(self, layer: int, **more: Any) -> int:
        """A layer times the last one: a factor a channel, or with scale_wh=1 a factor a place."""
        return self.add("scale_channels", self.channels(layer), **{"from": self._reference(layer)}, **more)

    def yolo(self, mask: Sequence[int], anchors: Sequence[int], **options: Any) -> int:
        """A head, with the convolution that it reads: variants that are asked for are built here."""
        if self.applies("sam"):
            self.sam()
        gaussian, coords = self.applies("gaussian"), bool(options.get("new_coords", 0))
        if gaussian:
            options = {key: value for key, value in options.items() if key not in ONLY_YOLO}
            if coords:
                options["scale_x_y"] = 1.05             # 2 belongs to new_coords
        self.conv(len(mask) * ((9 if gaussian else 5) + self.classes), norm=False,
                  activation="logistic" if coords and not gaussian else "linear")
        return self.add("Gaussian_yolo" if gaussian else "yolo", self.channels(), mask=mask, anchors=anchors,
                        classes=self.classes, num=len(anchors) // 2, **options)

    def region(self, anchors: Sequence[float], **options: Any) -> int:
        """YOLOv2's head, with the convolution that it reads."""
        count = len(anchors) // 2
        self.conv(count * (5 + self.classes), norm=False, activation="linear")
        return self.add("region", self.channels(), anchors=anchors, classes=self.classes, coords=4, num=count,
                        **options)

    def classifier(self, dropout: float | None = None) -> int:
        """A classifier's last layers."""
        self.part("classes")
        self.add("avgpool", self.channels())
        if dropout is not None:
            self.add("dropout", self.channels(), probability=dropout)
        self.conv(self.classes, norm=False, activation="linear")
        return self.add("softmax", self.classes, groups=1)

    def text(self, title: str, net: Mapping[str, Any]) -> str:
        """The whole cfg: a title, perhaps of several lines, [net] and the layers."""
        unknown = set(net) - {key for keys in NET.values() for key in keys}
        assert not unknown, f"[net] has no place for {unknown}"
        head = [f"# {line}" for line in title.splitlines()]
        lines = ["[net]"]
        for comment, keys in NET.items():
            if found := [f"{key}={_text(net[key])}" for key in keys if net.get(key) is not None]:
                lines += [f"# {comment}", *found]
        return "\n\n".join(["\n".join(head), "\n".join(lines), *self._sections]).replace(
            "\n\n# ", "\n\n\n# ") + "\n"

    def _reference(self, layer: int) -> int:
        back = layer - len(self._channels)
        return back if -back <= NEAR else layer


def section(kind: str, options: Mapping[str, Any]) -> str:
    """The text of a section."""
    return "\n".join([f"[{kind}]", *(f"{key}={_text(value)}" for key, value in options.items() if value is not None)])


def _text(value: Any) -> str:
    """A value as Darknet writes it: lists with commas."""
    if isinstance(value, (list, tuple, range)):
        return ",".join(map(_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
