"""Running statistics of batch normalisation, merged over all processes by an all-reduce."""
from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from darknet_py.layers.batchnorm import MOMENTUM
from darknet_py.utils.distributed import World


def merge_statistics(world: World, before: Sequence[Tensor], now: Sequence[Tensor],
                     updates: Sequence[int]) -> None:
    """Running statistics as if one process had run all mini-batches, in the order of ranks.

    Args:
        before: the statistics before, equal in all processes.
        now: the statistics after this process's mini-batches; changed in place.
        updates: mini-batches of each process.

    An update is r <- (1 - m) r + m s, so what the mini-batches of one process add is r' - (1 - m)^updates r.
    """
    if world.size == 1:
        return
    keep = 1 - MOMENTUM
    own, later = keep ** updates[world.rank], keep ** sum(updates[world.rank + 1:])
    parts = [(after - own * start) * later for start, after in zip(before, now, strict=True)]
    world.all_reduce(parts)
    for start, after, part in zip(before, now, parts, strict=True):
        after.copy_(part + keep ** sum(updates) * start)
