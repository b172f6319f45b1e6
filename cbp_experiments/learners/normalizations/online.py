"""Online normalization."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from cbp_experiments.learners.normalizations.base import Normalization, Normalizer, OfStatistics, others
from cbp_experiments.networks import Units, along_units


@dataclass(frozen=True)
class OnlineNormalization(Normalization):
    """Online normalization (Chiley et al. 2019): statistics of the examples before this one, and a controlled gradient.

    Forward, with decay a: `y = (x - mean) / sqrt(variance + epsilon)`, then
    `variance <- a variance + a (1 - a) (x - mean)^2` and `mean <- a mean + (1 - a) x`. A mini-batch is treated like one
    example, as Chiley et al. treat a feature map: its mean replaces x, and (1 - a) times its variance is added to the
    variance.

    Backward: the gradient of a normalized y is orthogonal to y and to 1. Here this holds in the running average,
    because `control` subtracts what was left over before, first from the gradient of y, then from that of x.
    """

    normalization_decay: float
    normalization_backward_decay: float
    normalization_epsilon: float

    kind: ClassVar[str] = "online"

    def __post_init__(self) -> None:
        self.require_shares("normalization_decay", "normalization_backward_decay")
        self.require_positive("normalization_epsilon")

    def normalizer(self, units: Sequence[Units]) -> Normalizer:
        return OfExamplesBefore(self, units)


class OfExamplesBefore(OfStatistics):
    initial: ClassVar[dict[str, float]] = Normalizer.initial | {"error_y": 0.0, "error_1": 0.0}

    def __init__(self, online: OnlineNormalization, units: Sequence[Units]):
        super().__init__(units, online.normalization_decay, online.normalization_epsilon)
        self.rate = 1 - online.normalization_backward_decay

    def learn(self, layer: int, x: Tensor) -> Tensor:
        mean, variance, a = self.state[f"mean_{layer}"], self.state[f"variance_{layer}"], self.decay
        y = self.standardize(x, mean, variance)
        self.control(y, self.state[f"error_y_{layer}"], along=y.detach())
        self.control(x, self.state[f"error_1_{layer}"], along=torch.ones_like(x))
        with torch.no_grad():
            within, now = torch.var_mean(x, dim=others(x), correction=0)
            variance.mul_(a).add_((1 - a) * (within + a * (now - mean) ** 2))
            mean.lerp_(now, 1 - a)
        return y

    def control(self, x: Tensor, error: Tensor, along: Tensor) -> None:
        """Make the backward pass subtract (1 - alpha_b) error x `along` from the gradient of `x`.

        What is left of the gradient along `along` is added to `error [R, n]`. The loss is a mean over B examples, so an
        example's own gradient is B times the one that arrives here.
        """

        def controlled(gradient: Tensor) -> Tensor:
            examples = gradient.shape[1]
            gradient = gradient - self.rate / examples * along_units(error, gradient) * along
            error.add_((gradient * along).mean(dim=others(gradient)), alpha=examples)
            return gradient

        x.register_hook(controlled)
