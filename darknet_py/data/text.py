"""Text for character models: a byte is a class, the target is the next byte."""
from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from darknet_py.errors import DataError, Reason, cause
from darknet_py.utils.files import check_regular


class Text:
    """A text file as sequences of bytes.

    Args:
        path: of the file, in any encoding.
        characters: how many different bytes there may be; the network's inputs.

    Raises:
        DataError: a file that cannot be read, is too short, or has bytes from ``characters`` on.

    Darknet: get_rnn_data.
    """

    def __init__(self, path: str | os.PathLike, characters: int):
        try:
            check_regular(path)
            self.bytes = np.fromfile(path, np.uint8)
        except OSError as error:
            raise DataError(f"{path}: cannot read the text: {cause(error)}", Reason.reading(error)) from None
        self.path, self.characters = Path(path), characters
        if len(self.bytes) < 2:
            raise DataError(f"{path}: expected a text of at least 2 bytes, found {len(self.bytes)}", Reason.EMPTY)
        if self.bytes.max() >= characters:
            at = int(np.flatnonzero(self.bytes >= characters)[0])
            raise DataError(f"{path}: byte {at} is {self.bytes[at]}, the network takes bytes below {characters} "
                            "(inputs=)", Reason.OUT_OF_RANGE)

    def __len__(self) -> int:
        return len(self.bytes)

    def sequences(self, starts: np.ndarray, steps: int) -> tuple[Tensor, Tensor]:
        """(S,) positions to (steps * S, characters, 1, 1) bytes and (steps * S, characters) the next ones, one-hot;
        all first steps come first. After its end the text starts over."""
        at = (np.arange(steps + 1)[:, None] + starts) % len(self)               # (steps + 1, S)
        hot = torch.nn.functional.one_hot(torch.from_numpy(self.bytes[at].astype(np.int64)), self.characters).float()
        return hot[:-1].reshape(-1, self.characters, 1, 1), hot[1:].reshape(-1, self.characters)
