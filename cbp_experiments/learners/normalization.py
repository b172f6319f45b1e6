"""Normalization of the hidden layers: batch (Ioffe and Szegedy 2015), online for single examples (Chiley et al. 2019).

A normalized layer computes z = gain N(x) + bias from its weighted sums x, for each unit by itself. There is no bias
before N, which would take it out again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from cbp_experiments.networks import Where, along_units, fill

if TYPE_CHECKING:
    from cbp_experiments.learners.base import Learner


class Normalization:
    """`network.normalization`: the gains and the statistics of all hidden layers.

    `gains[l] [R, n]` are parameters of the network. `state` is saved in checkpoints: for hidden layer l `name_l [R, n]`
    with the names of `initial`. Weighted sums are `x [R, B, n, ...]`: statistics run over all but runs and units, which
    for a convolution `[R, B, channels, height, width]` are those of a channel.
    """

    initial: ClassVar[dict[str, float]] = {"mean": 0.0, "variance": 1.0}

    def __init__(self, learner: Learner, biases: Sequence[Tensor]):
        """`biases [R, n]` of the hidden layers: what is kept here is of their shape."""
        self.decay, self.epsilon = learner.normalization_decay, learner.normalization_epsilon
        self.gains = [torch.ones_like(bias).requires_grad_() for bias in biases]
        self.state = {
            f"{name}_{layer}": torch.full_like(bias, value).detach()
            for layer, bias in enumerate(biases)
            for name, value in self.initial.items()
        }

    def __call__(self, layer: int, x: Tensor, learning: bool) -> Tensor:
        """gain N(x) of hidden layer `layer`. `learning`: in the pass that makes an update, which moves the statistics.

        Otherwise the statistics gathered so far stand in for those of the examples, and stay as they are.
        """
        mean, variance = self.state[f"mean_{layer}"], self.state[f"variance_{layer}"]
        y = self.learn(layer, x) if learning else self.standardize(x, mean, variance)
        return along_units(self.gains[layer], x) * y

    def learn(self, layer: int, x: Tensor) -> Tensor:
        """N(x) in the pass that makes an update."""
        raise NotImplementedError

    def standardize(self, x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        return (x - along_units(mean, x)) / (along_units(variance, x) + self.epsilon).sqrt()

    def reset(self, layer: int, where: Where) -> None:
        """Make the normalization of units new, their gains included: those at `where` in a `[R, n]`."""
        for name, value in self.initial.items():
            fill(self.state[f"{name}_{layer}"], where, value)
        fill(self.gains[layer], where, 1.0)


class BatchNormalization(Normalization):
    """Statistics of the mini-batch, through which the gradient flows (Ioffe and Szegedy 2015, Algorithm 1).

    `mean` and `variance` are torch.nn.BatchNorm1d's running ones, of momentum 1 - `normalization_decay`.
    """

    def learn(self, layer: int, x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(x, dim=others(x), correction=0)
        with torch.no_grad():
            examples = x.numel() // mean.numel()
            self.state[f"mean_{layer}"].lerp_(mean, 1 - self.decay)
            self.state[f"variance_{layer}"].lerp_(variance * (examples / (examples - 1)), 1 - self.decay)
        return self.standardize(x, mean, variance)


class OnlineNormalization(Normalization):
    """Chiley et al. 2019: statistics of the examples before this one, and a control of the gradient.

    Forward, with decay a: y = (x - mean) / sqrt(variance + epsilon), then
    variance <- a variance + a (1 - a) (x - mean)^2 and mean <- a mean + (1 - a) x. A mini-batch takes the place of one
    example, as their feature maps do: its mean for x, and (1 - a) times its variance is added to the variance.

    Backward: the gradient that belongs to a normalized y is orthogonal to y and to 1. Here it
    is so in the running average, because what was left over before is taken off (`control`), of y' first, then of x'.
    """

    initial: ClassVar[dict[str, float]] = Normalization.initial | {"error_y": 0.0, "error_1": 0.0}

    def __init__(self, learner: Learner, biases: Sequence[Tensor]):
        super().__init__(learner, biases)
        self.rate = 1 - learner.normalization_backward_decay

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


def others(x: Tensor) -> list[int]:
    """The dimensions of `x [R, B, n, ...]` that are neither runs nor units."""
    return [1, *range(3, x.ndim)]


KINDS: dict[str, type[Normalization]] = {"batch": BatchNormalization, "online": OnlineNormalization}
