"""Interface of the networks: an architecture, and R independent copies of it that advance together."""

from collections.abc import Sequence
from typing import ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from cbp_experiments.networks.units import Where, groups


class ForwardHook(Protocol):
    """Acts in the forward pass (learners.base.Actor)."""

    def activations(self, layer: int, h: Tensor) -> Tensor: ...


class Normalizer(Protocol):
    """Turns a hidden layer's weighted sums into its activation function's input (learners.normalizations.Normalizer).

    parameters: the learned parameters of each layer, each `[R, n]`. state: saved in checkpoints, tensors `[R, ...]`.
    """

    parameters: list[list[Tensor]]
    state: dict[str, Tensor]

    def __call__(self, layer: int, sums: Tensor, bias: Tensor, learning: bool) -> Tensor: ...

    def reset(self, layer: int, where: Where, chosen: Tensor | None = None) -> None: ...


class Architecture(Protocol):
    """The dataclass that a configuration's `network` names. It does not depend on the learner."""

    fills_a_core: ClassVar[bool]
    """Whether an update of one run keeps a core busy, so that a CPU should train each run separately."""

    @property
    def width(self) -> int: ...

    @property
    def depth(self) -> int:
        """Number of hidden layers."""

    def describe(self, inputs: int, classes: int) -> str:
        """Describe the network in a few words. Raises ConfigError if it cannot take this number of inputs."""

    def weight_count(self, inputs: int, classes: int) -> int:
        """Number of weights of one run, without biases."""

    def bounds(self, inputs: int, classes: int) -> list[float]:
        """Weights of layer l start in +-bounds[l]; replaced units draw theirs from the same range."""

    def initial_weights(self, seed: int, inputs: int, classes: int) -> list[np.ndarray]:
        """One float64 array per layer, drawn from generators keyed by seed and layer."""

    def initial_biases(self, seed: int, inputs: int, classes: int) -> list[np.ndarray]:
        """One float64 array `[out]` per layer."""

    def stack(
        self,
        weights: list[list[np.ndarray]],
        biases: list[list[np.ndarray]],
        bounds: list[float],
        device: torch.device,
        dtype: torch.dtype,
    ) -> "StackedNetwork":
        """Put the networks of all runs side by side; `weights[r][l]` and `biases[r][l]` belong to run r's layer l.

        bounds: the result of `bounds`.
        """


class StackedNetwork:
    """R networks side by side: `weights[l] [R, ...]`, `biases[l] [R, n]`; a learner may set `normalization`.

    This class has fully connected layers with weights `[R, in, out]`; a subclass may add other kinds of layers.
    Mechanisms find and reset the units of hidden layer l through `units[l]`.
    """

    mature_units_only = True
    """CBP's count of due units grows by rate x mature units. False: by rate x all units, once any is mature."""

    channels_last = 0
    """Image channels, if `forward` is fastest with `[R, B, channels, side, side]` in channels-last memory; else 0."""

    def __init__(
        self,
        weights: list[list[np.ndarray]],
        biases: list[list[np.ndarray]],
        bounds: list[float],
        device: torch.device,
        dtype: torch.dtype,
        *,
        halves: bool = False,
    ):
        """Stack the runs. bounds: weights of layer l are drawn from +-bounds[l]. halves: as in `units.Units`."""
        self.weights, self.biases = (
            [torch.from_numpy(np.stack(layer)).to(device, dtype).requires_grad_() for layer in zip(*runs, strict=True)]
            for runs in (weights, biases)
        )
        self.units = groups(self.weights, self.biases, bounds, halves=halves)
        self.normalization: Normalizer | None = None

    @property
    def parameters(self) -> list[Tensor]:
        """Weight and bias of each layer in turn, then the parameters of the normalization, kind by kind."""
        own = [p for pair in zip(self.weights, self.biases, strict=True) for p in pair]
        return own + [p for kind in zip(*self.of_normalization, strict=True) for p in kind]

    @property
    def of_normalization(self) -> list[list[Tensor]]:
        """The normalization's parameters `[R, n]`, by hidden layer; empty without a normalization."""
        return self.normalization.parameters if self.normalization else []

    def forward(self, x: Tensor, mechanisms: Sequence[ForwardHook] | None = None) -> tuple[Tensor, list[Tensor]]:
        """Map `x [R, B, in]` to logits `[R, B, classes]` and the activations `[R, B, n, ...]` of each hidden layer.

        With a learner's `mechanisms`, which act on the activations, this is the forward pass of an update. With None it
        is the bare network, normalized by the statistics gathered so far.
        """
        hidden: list[Tensor] = []
        for layer, bias in enumerate(self.biases[:-1]):
            if self.normalization is None:
                z = self.sums(layer, x, bias)
            else:
                z = self.normalization(layer, self.sums(layer, x, None), bias, mechanisms is not None)
            x = self.activate(layer, z)
            for mechanism in mechanisms or ():
                x = mechanism.activations(layer, x)
            hidden.append(x)
        return self.sums(len(self.weights) - 1, x, self.biases[-1]), hidden

    def new_head(self) -> None:
        """Set the weights and biases of the output layer to 0."""
        with torch.no_grad():
            self.weights[-1].zero_()
            self.biases[-1].zero_()

    def sums(self, layer: int, x: Tensor, bias: Tensor | None) -> Tensor:
        """The weighted sums `[R, B, n, ...]` of a layer, with or without a bias `[R, n]`."""
        weight = self.weights[layer]
        return torch.bmm(x, weight) if bias is None else torch.baddbmm(bias.unsqueeze(1), x, weight)

    def activate(self, layer: int, z: Tensor) -> Tensor:
        """The activations `[R, B, n, ...]` of a hidden layer as the next one sees them."""
        raise NotImplementedError
