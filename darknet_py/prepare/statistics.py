"""Charts of a data set: objects a class and a picture, sizes, positions and aspect ratios of boxes, picture sizes."""
from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from darknet_py.data.check import SplitStatistics
from darknet_py.evaluation.plots import plain
from darknet_py.prepare.sources import Picture
from darknet_py.viz.figures import save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS = {"train": "#2a6f97", "valid": "#f4a259"}
SHOWN = 30              # classes with a bar
FREQUENT = 5            # sizes of pictures that are written out
CELLS = 48              # of the map of places, along each side
MOST_COVERED = 20_000   # boxes that are drawn into that map


def split_statistics(name: str, pictures: Sequence[Picture], classes: int) -> SplitStatistics:
    """The statistics of a split, as ``check`` gives them."""
    rows = [picture.rows for picture in pictures]
    table = np.concatenate([np.zeros((0, 5), np.float32), *rows])
    return SplitStatistics(name, len(pictures), 0, sum(len(one) == 0 for one in rows), len(table),
                 max(map(len, rows), default=0), np.bincount(table[:, 0].astype(np.int64), minlength=classes),
                 table[:, 3:], np.array([picture.size for picture in pictures], np.int64).reshape(-1, 2))


def plot_statistics(parts: dict[str, list[Picture]], names: Sequence[str], path: str | os.PathLike, title: str) -> None:
    """Draw six charts of a data set.

    Args:
        parts: the pictures of train and valid, with their sizes known.
        names: of the classes.
        path: of the picture.

    Raises:
        DataError: it cannot be written.
    """
    from matplotlib.figure import Figure
    splits = {split: split_statistics(split, part, len(names)) for split, part in parts.items() if part}
    pictures = [picture for part in parts.values() for picture in part]
    rows = np.concatenate([np.zeros((0, 5), np.float32), *(picture.rows for picture in pictures)])
    scale = np.repeat(np.array([picture.size for picture in pictures], np.float64).reshape(-1, 2),
                      [len(picture.rows) for picture in pictures], 0)
    pixels = rows[:, 3:] * scale                                                # (K, 2) width, height
    figure = Figure(figsize=(15, 8.6), dpi=100, layout="constrained")
    axes = figure.subplots(2, 3).ravel()
    figure.suptitle(title, fontsize=13)
    _classes(axes[0], splits, names)
    _histogram(axes[1], {split: np.array([len(picture.rows) for picture in parts[split]]) for split in splits})
    _sizes(axes[2], pixels)
    _places(axes[3], rows)
    _aspects(axes[4], pixels)
    _pictures(axes[5], splits)
    for one in axes[[0, 1, 4]]:
        one.set_axisbelow(True)
    save_figure(figure, path)


def _classes(axes: Axes, splits: dict[str, SplitStatistics], names: Sequence[str]) -> None:
    """Objects of each class, the most frequent on top."""
    total = sum(split.per_class for split in splits.values())
    order = np.argsort(-np.asarray(total), kind="stable")[:SHOWN]
    left = np.zeros(len(order))
    for name, split in splits.items():
        axes.barh(range(len(order)), split.per_class[order], left=left, color=COLORS[name], label=name, height=.75)
        left += split.per_class[order]
    train = splits["train"].per_class[order] if "train" in splits else np.zeros(len(order))
    for place, (count, part) in enumerate(zip(left.tolist(), train.tolist(), strict=True)):
        share = f", {part / count:.0%} train" if count and len(splits) > 1 else ""
        axes.text(count, place, f" {int(count):,}{share}", va="center", fontsize=8)
    axes.set_yticks(range(len(order)), [plain(names[label], 18) for label in order.tolist()],
                    fontsize=9 if len(order) <= 15 else 7)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.35 * max(1, left.max(initial=0)))
    more = f", the {SHOWN} most frequent of {len(names)}" if len(names) > SHOWN else ""
    axes.set(title=f"objects of each class{more}", xlabel="objects")
    axes.legend(loc="lower right")
    axes.grid(axis="x", alpha=.3)


def _histogram(axes: Axes, counts: dict[str, np.ndarray]) -> None:
    """Pictures by how many objects they have."""
    from matplotlib.ticker import MaxNLocator
    top = max(int(part.max()) for part in counts.values()) + 1
    edges = np.unique(np.linspace(0, top, min(top, 40) + 1).astype(int)) - .5
    axes.hist(list(counts.values()), bins=edges.tolist(), stacked=True, color=[COLORS[name] for name in counts],
              label=list(counts))
    mean = np.concatenate(list(counts.values())).mean()
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(title=f"objects in a picture, {mean:.1f} on average", xlabel="objects", ylabel="pictures")
    axes.grid(axis="y", alpha=.3)


def _sizes(axes: Axes, pixels: np.ndarray) -> None:
    """Width and height of the boxes in pixels, both on logarithmic axes, with COCO's limits of small and large."""
    axes.set(title="sizes of the boxes", xlabel="width, pixels", ylabel="height, pixels")
    if not len(pixels):
        return
    low, high = max(.5, float(pixels.min()) / 1.3), float(pixels.max()) * 1.3
    edges = np.geomspace(low, high, 60)
    counts, _, _ = np.histogram2d(pixels[:, 0], pixels[:, 1], bins=[edges, edges])
    axes.pcolormesh(edges, edges, np.ma.masked_equal(np.log1p(counts.T), 0), cmap="viridis")
    axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high))
    line = np.geomspace(low, high, 50)
    area = pixels.prod(1)
    small, large = (area < 32 ** 2).mean(), (area >= 96 ** 2).mean()
    for side, color, share in ((32, "tab:red", f"{small:.0%} are smaller"), (96, "tab:purple", f"{large:.0%} larger")):
        axes.plot(line, side ** 2 / line, color=color, linewidth=1, linestyle="--", label=f"{side} x {side}: {share}")
    axes.legend(loc="upper left", fontsize=8)
    axes.grid(alpha=.3)
    _plain_ticks(axes)


def _plain_ticks(axes: Axes) -> None:
    """Plain numbers such as 50 on logarithmic axes, not powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())


def _places(axes: Axes, rows: np.ndarray) -> None:
    """How often each place of a picture lies in a box."""
    chosen = rows[np.random.default_rng(0).permutation(len(rows))[:MOST_COVERED]]
    low = np.clip((chosen[:, 1:3] - chosen[:, 3:] / 2) * CELLS, 0, CELLS - 1).astype(int)
    high = np.clip(np.ceil((chosen[:, 1:3] + chosen[:, 3:] / 2) * CELLS), 1, CELLS).astype(int)
    steps = np.zeros((CELLS + 1, CELLS + 1))
    for x, y, sign in ((low[:, 0], low[:, 1], 1), (high[:, 0], low[:, 1], -1), (low[:, 0], high[:, 1], -1),
                       (high[:, 0], high[:, 1], 1)):
        np.add.at(steps, (y, x), sign)
    covered = steps.cumsum(0).cumsum(1)[:CELLS, :CELLS]
    axes.imshow(covered / max(1., covered.max()), cmap="magma", extent=(0, 1, 1, 0), interpolation="nearest", vmin=0,
                vmax=1, aspect="auto")
    axes.set(title="where the boxes are (bright: many of them)", xlabel="x", ylabel="y")


def _aspects(axes: Axes, pixels: np.ndarray) -> None:
    """Proportions of the boxes, on a logarithmic axis so that 2:1 and 1:2 are alike."""
    axes.set(title="proportions of the boxes", xlabel="width / height", ylabel="objects")
    good = pixels[(pixels > 0).all(1)]
    if len(good):
        ratio = np.clip(good[:, 0] / good[:, 1], 1 / 16, 16)
        top = max(2., 1.05 * float(np.maximum(ratio, 1 / ratio).max()))
        axes.hist(ratio, bins=np.geomspace(1 / top, top, 49).tolist(), color="#588157")
        axes.set_xscale("log")
        ticks = [tick for tick in (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8, 16) if 1 / top <= tick <= top]
        axes.set_xticks(ticks, [f"{tick:g}:1" if tick >= 1 else f"1:{1 / tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.axvline(1, color="black", linewidth=.8, linestyle="--")
    axes.grid(axis="y", alpha=.3)


def _pictures(axes: Axes, splits: dict[str, SplitStatistics]) -> None:
    """Sizes of the pictures, each a disk whose area tells how many have it."""
    total = sum(len(split.sizes) for split in splits.values())
    top = np.ones(2)
    for name, split in splits.items():
        sizes, counts = np.unique(split.sizes, axis=0, return_counts=True)
        axes.scatter(sizes[:, 0], sizes[:, 1], s=12 + 600 * counts / total, color=COLORS[name], alpha=.6, label=name,
                     linewidths=0)
        top = np.maximum(top, sizes.max(0))
    sizes, counts = np.unique(np.concatenate([split.sizes for split in splits.values()]), axis=0, return_counts=True)
    often = np.argsort(-counts, kind="stable")[:FREQUENT]
    text = [f"{sizes[at, 0]} x {sizes[at, 1]}: {counts[at] / total:.0%}" for at in often.tolist()
            if counts[at] >= .01 * total]
    axes.text(.03, .97, "\n".join(text), transform=axes.transAxes, va="top", fontsize=9)
    title = "sizes of the pictures" + (f", {len(sizes):,} different" if len(sizes) > 1 else "")
    axes.set(title=title, xlabel="width, pixels", ylabel="height, pixels",
             xlim=(0, 1.2 * top[0]), ylim=(0, 1.35 * top[1]))
    axes.grid(alpha=.3)
