"""Conversion of networks and weights to other formats and back, with a check of parity."""
from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from darknet_py.cfg.language import Cfg
from darknet_py.convert.describe import class_names, describe
from darknet_py.convert.formats import FORMATS, ExportOptions
from darknet_py.convert.parity import Parity, compare
from darknet_py.data.image import read_image
from darknet_py.errors import DarknetError, Reason, WeightsError, cause, suggestion
from darknet_py.inference.preprocess import as_input
from darknet_py.model.network import MODELS, Network
from darknet_py.model.tensors import fill, holds_tensors, read_tensors
from darknet_py.model.weights import Header, read_header
from darknet_py.utils.files import put_in_place, temporary_folder
from darknet_py.zoo.models import open_cfg

PLAIN = ExportOptions()


@dataclass(frozen=True)
class Conversion:
    """The result of ``convert``.

    files: written, with their sizes in bytes.
    source: the weights that were read, in words.
    parity: the difference between the results of both; None without a check.
    """

    files: dict[Path, int]
    source: str
    parity: Parity | None


def convert(cfg: str | os.PathLike | Cfg, weights: str | os.PathLike, out: str | os.PathLike, *, to: str | None = None,
            options: ExportOptions = PLAIN, width: int | None = None, height: int | None = None, check: bool = True,
            images: Sequence[str | os.PathLike] = (), names: str | os.PathLike | Sequence[str] | None = None,
            data: str | os.PathLike | None = None, letterbox: bool | None = None) -> Conversion:
    """Write a network in another format, and check that it computes the same there.

    Args:
        cfg: a path, or a ``Cfg``.
        weights: a .weights file; or tensors to come back from: a .safetensors file or a PyTorch state dict, ours or
            another program's, whose tensors are then matched by order and shape.
        out: a path; its extension tells the format unless ``to`` does.
        options: of the model, see ``formats.ExportOptions``.
        width, height: of the input, instead of the cfg's.
        check: run both on random input, and on ``images``, paths.
        names, data: of the classes, for the file's metadata (see ``describe``), as ``Detector`` takes them.
        letterbox: the metadata says that pictures keep their proportions; None: as the cfg does.

    Raises:
        DarknetError: the weights do not fit, the format cannot express it, its package is missing, or the results
            differ; or there are fewer names than classes. No file is left behind then.
    """
    out = Path(out)
    name = out.suffix.removeprefix(".").lower() if to is None else to
    if name not in FORMATS:
        raise DarknetError(f"{out}: expected a format ({', '.join(FORMATS)}), found "
                           f"{name if name else 'no extension'}; -to names it" + suggestion(name, FORMATS))
    network, header, source = load(cfg, weights, width, height)
    kind = FORMATS[name]
    kind.check(network, options)
    letterbox = bool(network.options.letter_box) if letterbox is None else letterbox
    metadata = describe(network, options, class_names(network, weights, names, data), letterbox)
    with temporary_folder(folder_of(out)) as folder:
        path = folder / out.name
        kind.write(network, header, path, options, metadata)
        parity = compare(network, kind, path, options, _inputs(network, images, letterbox)) if check else None
        if parity is not None and not parity.good:
            raise DarknetError(f"{out}: not written, for it computes something else: {parity}")
        return Conversion(put_files(folder, out), source, parity)


def put_files(folder: Path, out: Path) -> dict[Path, int]:
    """Move files made in a folder to the place of ``out``, which one of them is named after; their sizes in bytes.

    Raises:
        DarknetError: one cannot be written.
    """
    files = {}
    made = sorted(folder.iterdir(), key=lambda one: one.name == out.name)
    if len(made) > 1 and out.is_file() and not out.is_symlink():
        out.unlink()                # a kill between two of them leaves no OUT, rather than one with another's data
    for one in made:
        place = out.with_name(one.name)
        try:
            put_in_place(one, place)
        except OSError as error:
            raise DarknetError(f"{place}: cannot write the file: {cause(error)}") from None
        files[place] = place.stat().st_size
    return files


def load(cfg: str | os.PathLike | Cfg, weights: str | os.PathLike, width: int | None = None, height: int | None = None
         ) -> tuple[Network, Header, str]:
    """A network with weights from any format that can be read, the header of its file, and what was read in words."""
    if Path(weights).suffix.lower() in MODELS:
        raise WeightsError(f"{weights}: expected weights, found a model for another runtime", Reason.WRONG_FORMAT)
    network = Network(open_cfg(cfg), width=width, height=height)
    if holds_tensors(weights):
        network.reset_parameters()
        tensors = read_tensors(weights)
        header, source = tensors.header, fill(network, tensors, weights)
    else:
        network.load_weights(weights)
        header, source = read_header(weights), f"{network.reached} of {len(network.layers)} layers"
        network.reset_parameters(network.reached)
    network.seen = header.seen
    return network.eval(), header, source


def folder_of(out: Path) -> Path:
    """The folder of a file to write.

    Raises:
        DarknetError: it is missing, or closed to us.
    """
    folder = out.absolute().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise DarknetError(f"{out}: cannot write there: {folder} is {'closed to us' if folder.is_dir() else 'missing'}")
    return folder


def _inputs(network: Network, images: Sequence[str | os.PathLike], letterbox: bool) -> Tensor:
    """Random images and the given ones, (N, C, H, W)."""
    shape, generator = network.input_shape, torch.Generator().manual_seed(0)
    x = [torch.rand(shape, generator=generator) for _ in range(2)]
    return torch.stack(x + [as_input(read_image(image, shape.channels), shape, letterbox) for image in images])


class _Package(ModuleType):
    """``darknet_py.convert`` is this package, and the function of its name as well."""

    __call__ = staticmethod(convert)
    __signature__ = signature(convert)


sys.modules[__name__].__class__ = _Package
