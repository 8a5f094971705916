"""One training iteration: the mini-batches of a batch, self-adversarial training, the update, checks for NaN."""
from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from darknet_py.data.targets import MiniBatch, Truth
from darknet_py.errors import DarknetError
from darknet_py.layers import Layer
from darknet_py.model.network import Network
from darknet_py.model.plan import HeadPass
from darknet_py.training.batchnorm_sync import merge_statistics
from darknet_py.training.ema import Average
from darknet_py.training.gradient_exchange import GradientExchange, with_last
from darknet_py.training.optimizer import Optimizer, reject_similar_filters
from darknet_py.training.schedule import learning_rate
from darknet_py.training.step import Forward, accumulate, attack
from darknet_py.utils.distributed import World
from darknet_py.viz.attention import attention_picture

START_SCALE = 1024.     # of deltas in float16, and after how many good iterations it doubles
RISE = 2000
PRECISIONS = {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class IterationResult(NamedTuple):
    """The result of an iteration.

    loss: a mean over images, as C prints it.
    rate: the learning rate.
    figures: means over mini-batches of the heads' figures, by "index name".
    trouble: why the weights were left as they were, or None.
    """

    loss: float
    rate: float
    figures: dict[str, float]
    trouble: str | None


class Engine:
    """A network with its training state: optimiser, average, loss scale.

    Args:
        amp: "off" for float32, else the precision of the forward pass: "bf16" or "fp16".
        seed: for what is random in the network itself.
        compiled: run the forward pass through torch.compile, once for each size.
    """

    def __init__(self, network: Network, device: torch.device, *, amp: str = "off", seed: int = 0,
                 world: World | None = None, compiled: bool = False):
        self.network, self.device, self.seed = network.train(), device, seed
        self.world = World(device) if world is None else world
        self.amp, self.precision = amp, PRECISIONS[amp]
        half = self.precision is torch.float16
        self.scale = 1. if not half else START_SCALE if network.options.loss_scale == 1 else network.options.loss_scale
        self.attention: np.ndarray | None = None            # the last picture of what an attack changed
        self.good = 0                           # iterations since the scale last changed
        self.optimizer, self.average = Optimizer(network), Average(network)
        self.exchange = GradientExchange(self.world, network.parameters())
        self.context = network.context
        self.sizes = {network.input_shape[1:]: network}
        self.compiled: dict[tuple[int, int], Forward] | None = {} if compiled else None
        self.statistics = [buffer for buffer in network.buffers() if buffer.is_floating_point()]

    def at_size(self, height: int, width: int) -> Network:
        """The network for images of another size, in training mode."""
        if (height, width) not in self.sizes:
            self.sizes[height, width] = self.network.resized(width, height)
        return self.sizes[height, width]

    def run(self, iteration: int, batches: Iterable[MiniBatch]) -> IterationResult:
        """Train on one batch.

        Args:
            iteration: its number, from 1.
            batches: this process's mini-batches.

        If a loss or a gradient is not finite nothing changes but the iteration's number, and ``trouble`` says where it
        began. What is random in the network draws from a seed for each mini-batch's number, so that it does not depend
        on the process that has it; the caller's random state stays as it is.
        """
        before = [buffer.clone() for buffer in self.statistics]
        start, world = self.context.seen, self.world
        for network in self.sizes.values():
            network.reset_state()               # a batch's sequences are new ones
        losses: list[Tensor] = []
        figures: dict[str, list[Tensor]] = {}
        seen: list[tuple[Network, MiniBatch]] = []      # on the host, for a look at what is not finite
        for index, (batch, last) in enumerate(with_last(batches)):
            x = self.input(batch.images)
            # Boxes stay where they are, on the CPU: what is matched there does not wait for the network's output.
            truth = batch.truth if isinstance(batch.truth, Truth) else batch.truth.to(self.device)
            self.context.seen = start + len(x) * (batch.subdivision + 1)
            network = self._begin(iteration, index, x)
            seen.append((network, batch))
            with seeded(hash((self.seed, iteration, batch.subdivision)) % 2 ** 63, self.device), \
                    self.exchange.during(last):
                if self._is_attacked(iteration, batch.subdivision):
                    clean = x
                    x, delta = attack(network, clean, truth, self._attack_rate(iteration))
                    seen[-1] = network, batch._replace(images=x.cpu())
                    if self.network.options.attention:
                        self.attention = attention_picture(clean[0], delta[0])
                outcome = accumulate(network, x, truth, self.scale, self.precision, self._compiled(network))
            losses.append(outcome.loss.double() / len(x))
            for head, loss in outcome.heads:
                for name, value in loss.figures.items():
                    figures.setdefault(f"{head.layer.place.index} {name}", []).append(value)
        parameters = [parameter for parameter in self.network.parameters() if parameter.grad is not None]
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        count, cost, updates = self._totals(sum(len(batch.images) for _, batch in seen), losses)
        self.exchange.finish()
        rate = learning_rate(self.network.options, iteration)
        finite = bool(np.isfinite(cost)) and all_finite(gradients)
        trouble = None
        if finite:
            if self.scale != 1:
                torch._foreach_div_(gradients, self.scale)
            merge_statistics(world, before, self.statistics, updates)
            self.optimizer.step(rate, count, iteration)
            self.average.update(iteration)
            net = self.network.options
            if net.weights_reject_freq and iteration % net.weights_reject_freq == 0 and \
                    iteration < net.max_batches * 3 // 4:
                reject_similar_filters(self.network, self.seed + iteration)
        else:
            if self.scale <= 1:
                bad = next((index for index, value in enumerate(losses) if not value.isfinite()), 0)
                trouble = self._diagnose(cost, *seen[bad])
            torch._foreach_copy_(self.statistics, before)
            for parameter in parameters:
                parameter.grad = None
        self._rescale(finite)
        means = torch.stack([torch.stack(values).float().mean() for values in figures.values()] or [torch.zeros(1)])
        return IterationResult(cost, rate, dict(zip(figures, means.tolist(), strict=False)), trouble)

    def _totals(self, images: int, losses: list[Tensor]) -> tuple[int, float, list[int]]:
        """Over all processes: images, the mean loss of mini-batches, and how many of them each process had. The rolling
        statistics of deltas become the mean of those of the processes, so that all go on from the same ones."""
        world, rolling = self.world, self.context.rolling
        host = torch.zeros(1 + world.size, dtype=torch.float64)
        host[0], host[1 + world.rank] = images, len(losses)
        host = torch.cat([host, rolling.double() / world.size])         # one copy to the device
        total = torch.cat([torch.stack(losses).sum()[None], host.to(self.device)])
        world.all_reduce([total])
        loss, count, *rest = total.tolist()
        counts = [round(number) for number in rest[:world.size]]
        rolling.copy_(torch.tensor(rest[world.size:], dtype=rolling.dtype))
        return round(count), loss / sum(counts), counts

    def _compiled(self, network: Network) -> Forward | None:
        if self.compiled is None:
            return None
        size = network.input_shape[1:]
        if size not in self.compiled:
            self.compiled[size] = _compile(network.train_heads)
        return self.compiled[size]

    def input(self, images: Tensor) -> Tensor:
        """Images as the network's input: on its device, float in [0, 1]."""
        x = images.to(self.device, non_blocking=True)
        x = x.float().div_(255) if x.dtype == torch.uint8 else x.float()
        return x.contiguous(memory_format=torch.channels_last)

    def _begin(self, iteration: int, index: int, x: Tensor) -> Network:
        """Write what the losses may know of this mini-batch, and give the network of its size."""
        self.context.iteration, self.context.subdivision = iteration - 1, index
        return self.at_size(*x.shape[2:])

    def _is_attacked(self, iteration: int, subdivision: int) -> bool:
        """Self-adversarial training takes every second mini-batch, by chance, once burn_in is over."""
        net = self.network.options
        return bool(net.adversarial_lr) and iteration - 1 > net.burn_in and np.random.default_rng(
            (self.seed, iteration, subdivision)).random() < .5

    def _attack_rate(self, iteration: int) -> float:
        net = self.network.options
        return net.adversarial_lr * (iteration - 1) / net.max_batches

    def _rescale(self, finite: bool) -> None:
        """Adapt the loss scale of float16: halved after an overflow, doubled after many finite iterations."""
        if self.precision is torch.float16:
            self.good = self.good + 1 if finite else 0
            if not finite or self.good % RISE == 0:
                self.scale *= 2 if finite else .5

    def _diagnose(self, loss: float, network: Network, batch: MiniBatch) -> str:
        """The first layer whose values are not finite, and the images of which."""
        x = self.input(batch.images)
        bad = ~x.isfinite().flatten(1).all(1)
        where = "the images themselves"
        if not bad.any():
            with torch.no_grad():
                for layer, output in zip(network.layers, network.trace(x), strict=True):
                    bad = ~output.isfinite().reshape(len(x), -1).all(1) if len(output) == len(x) else bad
                    if not output.isfinite().all():
                        where = f"the output of {described(layer)}"
                        break
                else:
                    where = next((f"the gradient of {described(layer)}" for layer in reversed(network.layers)
                                  if any(p.grad is not None and not p.grad.isfinite().all()
                                         for p in layer.parameters())), "the loss")
        names = [name for name, one in zip(batch.names, bad.tolist(), strict=True) if one] or batch.names
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        return f"loss {loss}: {where} is the first that is not finite, for {shown}"


def _compile(forward: Forward) -> Forward:
    """torch.compile, whose failures are raised as a DarknetError."""
    from torch._dynamo.exc import TorchDynamoException  # takes a second
    compiled = torch.compile(forward, dynamic=False)

    def run(x: Tensor, frozen: int) -> list[HeadPass]:
        try:
            return compiled(x, frozen)
        except TorchDynamoException as error:
            raise DarknetError(f"torch.compile does not work here ({str(error).splitlines()[0]}); train without "
                               "-compile") from error

    return run


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """A context in which PyTorch's default generators of the CPU and the device are seeded; their states are restored
    after it."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        if device.type == "cuda":
            torch.default_generator.manual_seed(seed)
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)        # torch.manual_seed would seed all other GPUs as well
        elif device.type == "cpu":
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)
        yield


def all_finite(tensors: list[Tensor]) -> bool:
    """Whether all values of all tensors, and their squares, are finite; with one synchronisation for all."""
    return not tensors or bool(torch.stack(torch._foreach_norm(tensors)).isfinite().all())


def described(layer: Layer) -> str:
    return f"layer {layer.place.index} ([{layer.kind}], line {layer.place.section.line} of the cfg)"
