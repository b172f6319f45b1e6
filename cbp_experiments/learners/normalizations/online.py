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
    """Chiley et al. 2019: statistics of the examples before this one, and a control of the gradient.

    Forward, with decay a: y = (x - mean) / sqrt(variance + epsilon), then
    variance <- a variance + a (1 - a) (x - mean)^2 and mean <- a mean + (1 - a) x. A mini-batch takes the place of one
    example, as their feature maps do: its mean for x, and (1 - a) times its variance is added to the variance.

    Backward: the gradient that belongs to a normalized y is orthogonal to y and to 1. Here it
    is so in the running average, because what was left over before is taken off (`control`), of y' first, then of x'.
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
        """Let the backward pass take (1 - alpha_b) error x `along` off the gradient of `x`, and add what is left along
        `along` to `error [R, n]`.

        The loss is a mean over B examples, so that their own gradients are B times what arrives here.
        """

        def controlled(gradient: Tensor) -> Tensor:
            examples = gradient.shape[1]
            gradient = gradient - self.rate / examples * along_units(error, gradient) * along
            error.add_((gradient * along).mean(dim=others(gradient)), alpha=examples)
            return gradient

        x.register_hook(controlled)
