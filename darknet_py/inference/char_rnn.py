"""Character models: perplexity of a text, and sampling of text. A character is a byte."""
from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from darknet_py.errors import CfgError, DataError, Reason
from darknet_py.inference.backends.pytorch import PyTorch
from darknet_py.inference.classifier import network_output, output_layer
from darknet_py.model.network import Network

AT_ONCE = 256           # steps in one call
LEAST = .0001           # smaller probabilities count as 0 in sampling
SPACES = (9, 10, 32)    # what ends a word: tab, line feed, space


class Perplexity(NamedTuple):
    """Perplexity of a text.

    characters: bytes that were predicted, all but the first.
    bits: the sum of their negative log2 probabilities.
    words: spaces, tabs and line feeds among them, and one.
    """

    characters: int
    bits: float
    words: int

    @property
    def each(self) -> float:
        """Perplexity a byte: 2 ** (bits / characters)."""
        return _power(self.bits / self.characters)

    def text(self) -> str:
        """Darknet's line."""
        return (f"{self.characters} Perplexity: {self.each:4.4f}    Word Perplexity: "
                f"{_power(self.bits / self.words):4.4f}")


def perplexity(network: Network, data: bytes, seed: bytes = b"", *, device: str | int | torch.device | None = None,
               progress: Callable[[Perplexity], None] | None = None) -> Perplexity:
    """Perplexity of a text: each byte is predicted from those before it.

    It works on a copy, so the network's mode and recurrent state stay as they are. Many steps run in one call, with the
    result of as many calls of one step.

    Args:
        network: as many outputs as inputs (``inputs=``).
        data: the text, of at least 2 bytes.
        seed: what the network reads before the text.
        device: None takes the network's, "auto" a GPU where there is one.
        progress: called with the result so far.

    Raises:
        CfgError: the network does not go from characters to characters.
        DataError: less than 2 bytes, or bytes that the network does not take.
        DarknetError: the network gives something that is not a number.

    Darknet: valid_char_rnn. A byte of probability 0 makes the perplexity infinite, as in C.
    """
    if len(data) < 2:
        raise DataError(f"expected a text of at least 2 bytes, found {len(data)}", Reason.EMPTY)
    inputs = count_characters(network)
    text = np.concatenate([checked(seed, inputs, "the seed"), checked(data, inputs, "the text")])
    backend = PyTorch.copy_of(network, device, [output_layer(network)])
    backend.network.set_time_steps(AT_ONCE)
    spaces, bits, result = np.isin(text, SPACES), 0., Perplexity(0, 0, 1)
    for start in range(0, len(text) - 1, AT_ONCE):
        here = np.arange(start, min(start + AT_ONCE, len(text) - 1))
        x = one_hot(text[here], inputs)
        x = torch.cat([x, x.new_zeros(AT_ONCE - len(x), inputs)])       # the state after these zeros is not used
        output = network_output(backend, x, f"bytes {start} to {start + len(here) - 1} of the text")
        here = here[here >= len(seed)]
        if len(here):
            end = int(here[-1]) + 2
            bits -= float(output[here - start, text[here + 1]].double().log2().sum())
            result = Perplexity(end - 1 - len(seed), bits, 1 + int(spaces[len(seed) + 1:end].sum()))
            if progress is not None:
                progress(result)
    return result


def generate(network: Network, length: int, seed: bytes = b"\n\n", temperature: float = .7,
             rng: np.random.Generator | None = None, *, device: str | int | torch.device | None = None
             ) -> Iterator[int]:
    """Sample characters that follow a seed, each from the probabilities that the network gives after those before.

    Args:
        network: as many outputs as inputs; it is not touched.
        length: how many.
        seed: what the network reads first; empty: the byte 0, as in C.
        temperature: of all [softmax]: the lower, the sharper the distribution.
        rng: all randomness; None draws other characters every time.
        device: None takes the network's, "auto" a GPU where there is one.

    Raises:
        CfgError, DataError, DarknetError: as ``perplexity`` does; also for a temperature that is not above 0.

    Darknet: test_char_rnn. Probabilities below .0001 are dropped. C draws with its library's rand(), so it samples
    another text.
    """
    if not temperature > 0:
        raise DataError(f"the temperature needs a number above 0, found {temperature:g}", Reason.OUT_OF_RANGE)
    inputs = count_characters(network)
    read = checked(seed or b"\0", inputs, "the seed")
    rng = np.random.default_rng() if rng is None else rng
    return _generated(network, length, read, inputs, temperature, rng, device)


def _generated(network: Network, length: int, read: np.ndarray, inputs: int, temperature: float,
               rng: np.random.Generator, device: str | int | torch.device | None) -> Iterator[int]:
    backend = PyTorch.copy_of(network, device, [output_layer(network)])
    for layer in backend.network.layers:
        if hasattr(layer.options, "temperature"):
            layer.options = replace(layer.options, temperature=temperature)
    output = torch.zeros(1, inputs)
    for character in read:
        output = network_output(backend, one_hot(np.array([character]), inputs), "the seed")
    for number in range(length):
        chances = output[0].double().numpy()
        chances = np.where(chances < min(LEAST, chances.max()), 0, chances).cumsum()
        character = int(np.searchsorted(chances, (1 - rng.random()) * chances[-1]))
        yield character
        if number < length - 1:
            output = network_output(backend, one_hot(np.array([character]), inputs), f"character {number}")


def count_characters(network: Network) -> int:
    """The number of different characters of a network.

    Raises:
        CfgError: it does not give a probability for each.
    """
    inputs, place = network.input_shape.size, network.layers[output_layer(network)].place
    outputs = network.layers[place.index].shape.size
    if network.options.width or inputs != outputs:
        raise CfgError(f"is no model of characters: expected [net] with inputs= and no width=, and as many outputs; "
                       f"found {inputs} inputs, {outputs} outputs",
                       Reason.WRONG_TASK, network.cfg.path, place.section.line)
    return inputs


def checked(data: bytes, characters: int, source: str) -> np.ndarray:
    """(N,) int64 bytes, after a check that the network takes them.

    Raises:
        DataError: with the first byte that it does not.
    """
    values = np.frombuffer(data, np.uint8).astype(np.int64)
    if len(values) and values.max() >= characters:
        at = int(np.flatnonzero(values >= characters)[0])
        raise DataError(f"{source}: byte {at} is {values[at]}, the network takes bytes below {characters} (inputs=)",
                        Reason.OUT_OF_RANGE)
    return values


def one_hot(values: np.ndarray, characters: int) -> Tensor:
    """(N,) -> (N, characters)"""
    return torch.nn.functional.one_hot(torch.from_numpy(values), characters).float()


def _power(bits: float) -> float:
    return 2 ** bits if bits < 1024 else math.inf
