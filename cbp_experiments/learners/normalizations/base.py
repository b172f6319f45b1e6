"""Base classes of a normalization of the hidden layers: its hyperparameters, and the normalizer of R networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from cbp_experiments.learners.base import Part
from cbp_experiments.networks import Units, Where, along_units, fill


@dataclass(frozen=True)
class Normalization(Part):
    """Hyperparameters. minibatches: it uses statistics of a mini-batch, which single examples do not have."""

    minibatches: ClassVar[bool] = False

    def normalizer(self, units: Sequence[Units]) -> Normalizer:
        """Make the normalizer of the hidden layers with these units."""
        raise NotImplementedError


class Normalizer:
    """The parameters and statistics of all hidden layers (`network.normalization`).

    `parameters[l]` are the learned parameters that `initial_parameters` names, each `[R, n]`. `state` is saved in
    checkpoints: `name_l [R, n]` for each hidden layer l and each name in `initial`. Weighted sums are
    `x [R, B, n, ...]`; in a convolution, `[R, B, channels, height, width]`, statistics are per channel.
    """

    initial_parameters: ClassVar[dict[str, float]] = {"gain": 1.0}
    initial: ClassVar[dict[str, float]] = {"mean": 0.0, "variance": 1.0}

    def __init__(self, units: Sequence[Units]):
        self.parameters = [
            [torch.full_like(group.bias, value).detach().requires_grad_() for value in self.initial_parameters.values()]
            for group in units
        ]
        self.state = {
            f"{name}_{layer}": torch.full_like(group.bias, value).detach()
            for layer, group in enumerate(units)
            for name, value in self.initial.items()
        }

    def __call__(self, layer: int, sums: Tensor, bias: Tensor, learning: bool) -> Tensor:
        """Return the input of hidden layer `layer`'s activation function, from its weighted sums and its bias `[R, n]`.

        learning: True in the forward pass of an update, which moves the statistics. Otherwise the statistics gathered
        so far replace those of the examples and do not change.
        """
        raise NotImplementedError

    def reset(self, layer: int, where: Where, chosen: Tensor | None = None) -> None:
        """Reset the statistics and parameters of units, at `where` in an `[R, n]`. chosen: as in `networks.fill`."""
        for name, value in self.initial.items():
            fill(self.state[f"{name}_{layer}"], where, value, chosen)
        for parameter, value in zip(self.parameters[layer], self.initial_parameters.values(), strict=True):
            fill(parameter, where, value, chosen)


class OfStatistics(Normalizer):
    """gain N(sums) + bias, where N subtracts a mean and divides by a deviation; both are kept as statistics."""

    def __init__(self, units: Sequence[Units], decay: float, epsilon: float):
        super().__init__(units)
        self.decay, self.epsilon = decay, epsilon

    def __call__(self, layer: int, sums: Tensor, bias: Tensor, learning: bool) -> Tensor:
        mean, variance = self.state[f"mean_{layer}"], self.state[f"variance_{layer}"]
        y = self.learn(layer, sums) if learning else self.standardize(sums, mean, variance)
        (gain,) = self.parameters[layer]
        z = along_units(gain, sums) * y
        return z + along_units(bias, z)

    def learn(self, layer: int, x: Tensor) -> Tensor:
        """N(x) in the forward pass of an update."""
        raise NotImplementedError

    def standardize(self, x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        return (x - along_units(mean, x)) / (along_units(variance, x) + self.epsilon).sqrt()


def others(x: Tensor) -> list[int]:
    """The dimensions of `x [R, B, n, ...]` that are neither runs nor units."""
    return [1, *range(3, x.ndim)]
