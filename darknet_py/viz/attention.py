"""Attention picture (``attention=1``): the input gradient that self-adversarial training uses, drawn in red."""
from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

COARSE = 4              # pixels a side that are shown as one
GAIN = 4.
SHARE = .7              # of the picture that is red


def attention_picture(image: Tensor, delta: Tensor) -> np.ndarray:
    """A picture that is the redder the larger the gradient of the loss by its pixels.

    Args:
        image: (C, H, W) in [0, 1], RGB or grey.
        delta: (C, H, W), the heads' deltas propagated back to the image.

    Returns:
        (H, W, 3) uint8 BGR.

    Darknet: make_attention_image.
    """
    strength = delta.float().mean(0)
    spread = (strength.max() - strength.min()).clamp(min=torch.finfo(torch.float32).tiny)
    heat = ((strength - strength.mean()).abs() / spread * GAIN)[None, None]
    coarse = F.interpolate(heat, scale_factor=1 / COARSE, mode="bilinear", align_corners=True)
    heat = F.interpolate(coarse, size=heat.shape[2:], mode="bilinear", align_corners=True)[0, 0]
    picture = image.float().expand(3, -1, -1).flip(0) * (1 - SHARE)         # BGR
    picture = torch.cat([picture[:2], picture[2:] + SHARE * heat])
    return (picture.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
