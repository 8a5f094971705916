"""Weight sharing: two networks of the same layers over one set of parameters and statistics."""
from __future__ import annotations

from collections.abc import Sequence

from darknet_py.errors import Reason
from darknet_py.layers import Layer


def share_weights(layers: Sequence[Layer], twins: Sequence[Layer], size: str) -> None:
    """Give layers the very parameters and buffers of others.

    Args:
        layers: that have them.
        twins: the same layers for images of another size, or the first so many of them.
        size: theirs, in words.

    Raises:
        CfgError: weights depend on the size, as those of [connected] do.
    """
    for layer, twin in zip(layers, twins, strict=False):
        for ours, theirs in zip(layer.modules(), twin.modules(), strict=True):
            for name, tensor in (*ours.named_parameters(recurse=False), *ours.named_buffers(recurse=False)):
                if tensor.shape != (other := getattr(theirs, name)).shape:
                    raise layer.place.error(f"has weights {tuple(tensor.shape)} that would be {tuple(other.shape)} for "
                                            f"images of {size}, so this network cannot change its size (random=)",
                                            reason=Reason.SHAPE_MISMATCH)
            theirs._parameters, theirs._buffers = ours._parameters, ours._buffers
