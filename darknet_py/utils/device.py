"""Devices by name: the CPU, or one of the GPUs that PyTorch can use here."""
from __future__ import annotations

import os
import re

import torch

from darknet_py.errors import DarknetError, shown

NAMES = re.compile(r"cpu(?::0)?|cuda|(?:cuda:)?(?P<number>\d{1,4})")


def device_name(device: str | int | torch.device, option: str = "device") -> str:
    """The name of a device that is there.

    Args:
        device: "auto": a GPU where there is one; "cpu"; "cuda": the current GPU; "cuda:1", or 1: a GPU by its number;
            or a ``torch.device``, of which those of other kinds than these are taken as they are.
        option: that it was given by, for the error.

    Returns:
        "auto", "cpu", "cuda", "cuda:N", or another kind's.

    Raises:
        DarknetError: something else, or a GPU that is not there.
    """
    if device == "auto" or (isinstance(device, torch.device) and device.type not in ("cpu", "cuda")):
        return str(device)
    match = None if isinstance(device, bool) else NAMES.fullmatch(str(device))
    if match is None:
        found = device if isinstance(device, str) and device else shown(device)
        raise DarknetError(f"{option} needs auto, cpu, cuda or cuda:N, found {found}")
    if match[0].startswith("cpu"):
        return "cpu"
    there, number = torch.cuda.device_count(), match["number"]
    if int(number or 0) >= there:
        why = "" if torch.backends.cuda.is_built() else "; this PyTorch was built without CUDA"
        raise DarknetError(f"{option} {device}: there are {there} GPUs that can be used here{why}")
    return "cuda" if number is None else f"cuda:{int(number)}"


def local_device(device: str | int | torch.device) -> torch.device:
    """The device of this process, see ``device_name``: "auto" is a GPU where there is one; "cuda" is the GPU of
    torchrun's LOCAL_RANK.

    A GPU with a number becomes the current CUDA device.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if (name := device_name(device)) == "cuda" and "LOCAL_RANK" in os.environ:
        name = device_name(f"cuda:{os.environ['LOCAL_RANK']}")
    found = torch.device(name)
    if found.type == "cuda" and found.index is not None:
        torch.cuda.set_device(found)
    return found
