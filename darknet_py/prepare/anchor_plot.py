"""A figure of anchors over the boxes of a data set."""
from __future__ import annotations

import os

import numpy as np

from darknet_py.prepare.anchors import nearest
from darknet_py.viz.figures import save_figure

SCATTERED = 20_000      # boxes in a picture


def plot_anchors(sizes: np.ndarray, anchors: np.ndarray, size: tuple[int, int], path: str | os.PathLike) -> None:
    """Draw boxes as points, in the colour of the anchor that overlaps them most, and anchors as rectangles.

    Args:
        sizes: (K, 2) width and height of boxes, in pixels of the network's input.
        anchors: (A, 2), in the same.
        size: width and height of that input.
        path: of the picture; its extension says which kind.

    Raises:
        DataError: the picture cannot be written.

    Darknet: show_acnhors.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle
    label, _ = nearest(sizes, anchors)
    counts = np.bincount(label, minlength=len(anchors)).tolist()
    colors = colormaps["turbo"](np.linspace(.05, .95, len(anchors)))
    shown = np.random.default_rng(0).permutation(len(sizes))[:SCATTERED]
    right, top = np.maximum(sizes.max(0), anchors.max(0)).tolist()
    figure = Figure(figsize=(11, min(max(9 * top / right, 4), 14)), dpi=100, layout="tight")
    axes = figure.add_subplot(aspect="equal")
    axes.scatter(sizes[shown, 0], sizes[shown, 1], s=5, c=colors[label[shown]], alpha=.5, linewidths=0)
    for (width, height), color, count in zip(anchors.tolist(), colors, counts, strict=True):
        axes.add_patch(Rectangle((0, 0), width, height, fill=False, edgecolor=color, linewidth=1.5))
        axes.plot(width, height, "o", color=color, markeredgecolor="black",
                  label=f"{width:.3g} x {height:.3g}: {count:,}")
    axes.set_xlim(0, 1.03 * right)
    axes.set_ylim(0, 1.03 * top)
    axes.set_xlabel("width")
    axes.set_ylabel("height")
    axes.set_title(f"{len(sizes):,} boxes, {len(anchors)} anchors at {size[0]} x {size[1]}", fontsize=11)
    axes.legend(title="anchor: its boxes", loc="upper left", bbox_to_anchor=(1, 1))
    axes.grid(alpha=.4)
    save_figure(figure, path)
