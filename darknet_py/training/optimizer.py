"""Darknet's optimisers: SGD with momentum, and Adam."""
from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from darknet_py.errors import DataError, Reason
from darknet_py.layers import DetectionHead, Layer
from darknet_py.layers.batchnorm import Norm
from darknet_py.layers.convolutional import DEFORMATIONS, Convolutional
from darknet_py.model.network import Network
from darknet_py.training import filter_deformation as deform

WARP = 32           # C centralises gradients only where this divides a filter's weights


class Rule(NamedTuple):
    """Options of one tensor's update; tensors of equal rules share a parameter group of the optimiser."""

    factor: float           # of the learning rate
    decays: bool
    starts: float           # updated from this iteration on; infinite: never
    bound: float            # of the gathered updates, 0 for none
    clip: float             # of the weights after the step, 0 for none
    centred: bool           # grad_centr=
    reverse: float
    deformed: str           # one of DEFORMATIONS, or nothing
    angle: int


PLAIN = Rule(1, False, 0, 0, 0, False, 0, "", 0)


class Optimizer:
    """Stochastic gradient descent with momentum, or Adam where the cfg says adam=1, as Darknet does it on the GPU.

    ``parameter.grad`` holds sums over the images of a batch, without ``loss_scale`` (which C multiplies deltas by and
    divides out again here). Darknet: update_network_gpu, update_convolutional_layer_gpu and its siblings,
    adam_update_gpu.

    - Weights decay. Biases, batch normalisation and the weights of [shortcut] do not; with Adam biases and batch
      normalisation do.
    - ``dont_update=N`` starts after iteration N, ``burnin_update=K`` at K * burn_in; until then gradients are dropped,
      where C accumulates them into one large step. ``train_only_bn=1`` lets nothing but running statistics change, in
      this layer and all before it (set_train_only_bn; update_network_gpu passes over them).
    - ``clip`` keeps weights within bounds after the step; ``grad_centr`` takes each filter's mean off its updates,
      where the filter has a multiple of 32 weights; ``reverse=p`` steps by sign(u) * (10 |u| + 1) ^ p instead of u;
      sway, rotate, stretch and stretch_sway deform filters until half of max_batches (see ``deform``).
    - With Adam ``[connected]`` and ``[local]`` have it as well, where C has SGD and then never trains them; the count
      of its steps is the iteration.
    - ``try_fix_nan=1`` puts 0 for what is not finite in gradients and 1 / (1 + index) in weights.
    """

    def __init__(self, network: Network):
        self.network = network
        net = self.net = network.options
        groups: dict[Rule, list[nn.Parameter]] = {}
        self.names: dict[nn.Parameter, str] = {parameter: name for name, parameter in network.named_parameters()}
        last_bn = max((i for i, layer in enumerate(network.layers) if layer.options.train_only_bn), default=-1)
        for index, layer in enumerate(network.layers):
            for parameter, rule in self._rules(layer, index <= last_bn):
                groups.setdefault(rule, []).append(parameter)
        self.rules = list(groups)
        options = [{"params": parameters} for parameters in groups.values()]
        fused = all(parameter.device.type in ("cpu", "cuda") for parameter in self.names)
        self.inner: torch.optim.Optimizer = (
            _quick_to_start(torch.optim.Adam)(options, lr=0., betas=(net.B1, net.B2), eps=net.eps, fused=fused)
            if net.adam else
            _quick_to_start(torch.optim.SGD)(options, lr=0., momentum=net.momentum, fused=fused))

    def _rules(self, layer: Layer, only_bn: bool) -> Iterator[tuple[nn.Parameter, Rule]]:
        o, net = layer.options, self.net
        starts = float("inf") if only_bn else max(o.dont_update + 1 if o.dont_update else 0,
                                                  o.burnin_update * net.burn_in)
        for module in layer.modules():
            for name, parameter in module.named_parameters(recurse=False):
                is_weight = name == "weight" and not isinstance(module, Norm)
                rule = PLAIN._replace(factor=o.learning_rate, starts=starts, bound=layer.update_bound,
                                      decays=layer.decays and (is_weight or bool(net.adam)))
                if is_weight and module is layer and layer.clips:
                    rule = rule._replace(clip=o.clip)
                if is_weight and isinstance(layer, Convolutional) and module is layer:
                    kind = next((kind for kind in DEFORMATIONS if getattr(o, kind)), "")
                    stages = deform.stages(kind)
                    if kind and parameter.shape[:2].numel() % stages:
                        raise layer.place.error(f"{kind}=1 needs a number of kernels that {stages} divides, "
                                                f"found {parameter.shape[0]} x {parameter.shape[1]}", kind,
                                                Reason.INDIVISIBLE)
                    rule = rule._replace(
                        centred=bool(o.grad_centr and layer.norm is not None and not parameter[0].numel() % WARP),
                        reverse=0. if net.adam else o.reverse, deformed=kind, angle=int(o.angle))
                yield parameter, rule

    @torch.no_grad()
    def step(self, rate: float, batch: int, iteration: int) -> None:
        """Update the weights and clear the gradients.

        Args:
            rate: the learning rate.
            batch: images that the gradients are sums over.
            iteration: this one's number, from 1.
        """
        deforming = iteration <= self.net.max_batches // 2
        active: list[tuple[Rule, dict]] = []
        for rule, group in zip(self.rules, self.inner.param_groups, strict=True):
            if iteration < rule.starts:
                for parameter in group["params"]:
                    parameter.grad = None
            group["lr"] = rate * rule.factor / (1 if self.net.adam else batch)
            group["weight_decay"] = self.net.decay * batch if rule.decays else 0.
            if rule.reverse:
                group["lr"] = group["weight_decay"] = 0.
            if any(parameter.grad is not None for parameter in group["params"]):
                active.append((rule, group))
        if self.net.try_fix_nan:
            self._fix_nan(active)
        for rule, group in active:
            if self.net.adam:
                self._count(group["params"], iteration)
            if rule.centred or rule.bound or (rule.deformed and deforming):
                for parameter in group["params"]:
                    self._prepare(parameter, rule, deforming)
        self.inner.step()
        for rule, group in active:
            if rule.reverse:
                for parameter in group["params"]:
                    self._step_reversed(parameter, rule, rate * rule.factor / batch, batch)
            if rule.deformed and deforming:
                for parameter in group["params"]:
                    parameter.copy_(deform.spread(parameter, rule.deformed, rule.angle))
            if rule.clip:
                torch._foreach_clamp_min_(group["params"], -rule.clip)
                torch._foreach_clamp_max_(group["params"], rule.clip)
        self.inner.zero_grad(set_to_none=True)

    def _gathered(self, parameter: nn.Parameter) -> Tensor | None:
        """The momentum buffers before the step."""
        return self.inner.state[parameter].get("momentum_buffer") if parameter in self.inner.state else None

    def _prepare(self, parameter: nn.Parameter, rule: Rule, deforming: bool) -> None:
        """Change gradient and momentum so that the plain step has the result of C's operations on their sum."""
        if parameter.grad is None:
            return
        gathered = self._gathered(parameter)
        for tensor in (parameter.grad, gathered):
            if tensor is None:
                continue
            if rule.deformed and deforming:
                tensor.copy_(deform.gather(tensor, rule.deformed, rule.angle))
            if rule.centred:
                tensor.sub_(tensor.flatten(1).mean(1).view(-1, 1, 1, 1))
        if rule.bound and not self.net.adam:
            kept = 0 if gathered is None else gathered * self.net.momentum
            parameter.grad = (parameter.grad + kept).clamp(-rule.bound, rule.bound) - kept

    def _step_reversed(self, parameter: nn.Parameter, rule: Rule, rate: float, batch: int) -> None:
        gathered = self._gathered(parameter)
        if parameter.grad is None or gathered is None:
            return
        update = torch.where(gathered > 0, -1., 1.) * (10 * gathered.abs() + 1) ** rule.reverse
        if rule.decays:
            update -= self.net.decay * batch * parameter
        parameter.add_(update, alpha=rate)

    def _count(self, parameters: list[nn.Parameter], iteration: int) -> None:
        """Set Adam's count of steps to the iteration, as in C."""
        for parameter in parameters:
            state = self.inner.state[parameter]
            if not state:
                state.update(step=torch.tensor(0., device=parameter.device), exp_avg=torch.zeros_like(parameter),
                             exp_avg_sq=torch.zeros_like(parameter))
            state["step"].fill_(iteration - 1)

    def _fix_nan(self, active: list[tuple[Rule, dict]]) -> None:
        """Darknet: reset_nan_and_inf, fix_nan_and_inf."""
        parameters = [parameter for _, group in active for parameter in group["params"]]
        changing = [tensor for parameter in parameters for tensor in (parameter.grad, self._gathered(parameter))
                    if tensor is not None]
        if bool(torch.stack(torch._foreach_norm([*parameters, *changing])).isfinite().all()):
            return                                  # one look at all costs less than one at each
        for tensor in changing:
            tensor.nan_to_num_(0, 0, 0)
        for parameter in parameters:
            index = torch.arange(1, parameter.numel() + 1, device=parameter.device, dtype=parameter.dtype)
            parameter.copy_(torch.where(parameter.isfinite(), parameter, index.reciprocal().view_as(parameter)))

    def state_dict(self) -> dict[str, Tensor]:
        """The optimiser's state, by the names of parameter and buffer: "layers.0.weight.momentum_buffer"."""
        return {f"{name}.{key}": value for parameter, name in self.names.items() if parameter in self.inner.state
                for key, value in self.inner.state[parameter].items() if isinstance(value, Tensor)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore a ``state_dict``. Missing buffers start at zero, and so do all where adam= was changed.

        Raises:
            DataError: something is not of this network.
        """
        parameters = {name: parameter for parameter, name in self.names.items()}
        loaded: dict[Tensor, dict[str, Tensor]] = {}
        for key, value in state.items():
            name, _, kind = key.rpartition(".")
            if (kind == "momentum_buffer") == bool(self.net.adam):
                continue
            parameter = parameters.get(name)
            if parameter is None or (value.dim() and value.shape != parameter.shape):
                expected = "no such tensor" if parameter is None else f"{tuple(parameter.shape)}"
                raise DataError(f"the optimiser's state has {key} of {tuple(value.shape)}, the network {expected}",
                                Reason.INCOMPATIBLE)
            kept = torch.empty_like(parameter) if value.dim() else torch.empty_like(value, device=parameter.device)
            loaded.setdefault(parameter, {})[kind] = kept.copy_(value)      # fused kernels need the parameter's strides
        self.inner.state.clear()
        self.inner.state.update(loaded)


@torch.no_grad()
def reject_similar_filters(network: Network, seed: int, threshold: float = .4) -> list[tuple[int, int]]:
    """Reinitialise one of a layer's two most similar filters if the cosine between them is above the threshold.

    Args:
        seed: of the new weights; C's random numbers are not repeatable.

    Returns:
        (layer, filter) of each that was reinitialised.

    With ``weights_reject_freq=N`` this is done every N iterations in the first three quarters of the run, after the
    average of the weights took them in. It looks at convolutions with an activation, but not at the first layer and not
    at the three before a [yolo].

    Darknet: train_network_waitkey, reject_similar_weights.
    """
    rejected = []
    generator = torch.Generator().manual_seed(seed)
    for index, layer in enumerate(network.layers):
        near_head = any(isinstance(after, DetectionHead) and distance <= after.guarded
                        for distance, after in enumerate(network.layers[index + 1:], 1))
        if not index or near_head or not isinstance(layer, Convolutional) or layer.shared or \
                layer.options.activation == "linear":
            continue
        weight = layer.weight
        filters = nn.functional.normalize(weight.flatten(1), dim=1)
        similar = filters @ filters.T
        similar.masked_fill_(torch.ones_like(similar, dtype=torch.bool).tril(), -2)      # each pair once
        best = int(similar.argmax())
        if float(similar.view(-1)[best]) <= threshold:
            continue
        one = best // len(filters)
        bound = (2 / weight[0].numel()) ** .5
        weight[one] = torch.empty(weight.shape[1:]).uniform_(-bound, bound, generator=generator).to(weight)
        layer.bias_blob().tensor[one] = 0
        if layer.norm is not None:
            layer.norm.weight[one] = 1
        rejected.append((index, one))
    return rejected


def _quick_to_start(kind: type) -> type:
    """A kind of optimizer that does not import torch.compile's machinery at its first call, which takes two seconds.
    PyTorch's wrappers do, to keep it away from these methods, and no step is compiled here. They also turn gradients
    off, as our callers do."""
    wrapped = ("add_param_group", "load_state_dict", "state_dict", "step", "zero_grad")
    return type(kind.__name__, (kind,), {
        name: inspect.unwrap(getattr(kind, name)) for name in wrapped if hasattr(getattr(kind, name), "__wrapped__")})
