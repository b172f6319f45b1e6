"""Networks with a leading run dimension: R independent copies of one architecture, advanced together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from cbp_experiments.errors import ConfigError
from cbp_experiments.seeding import generator

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "swish": F.silu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}
# torch.nn.init.calculate_gain; ELU and swish, which it does not know, take ReLU's.
GAINS = {"relu": 2**0.5, "leaky_relu": (2 / (1 + 0.01**2)) ** 0.5, "elu": 2**0.5, "swish": 2**0.5, "tanh": 5 / 3}


class ForwardHook(Protocol):
    """What may act in the forward pass (learners.base.Mechanism)."""

    def activations(self, layer: int, h: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class MLP:
    """Fully connected network (paper, Online Permuted MNIST) of `depth` hidden layers; depth 0 is a linear learner."""

    width: int = 2000
    depth: int = 3
    activation: str = "relu"

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ConfigError(f"network.width must be at least 1, got {self.width}")
        if self.depth < 0:
            raise ConfigError(f"network.depth must be 0 (a linear learner) or more, got {self.depth}")
        if self.activation not in ACTIVATIONS:
            raise ConfigError(f"network.activation must be one of {', '.join(ACTIVATIONS)}, got {self.activation!r}")

    def sizes(self, inputs: int, classes: int) -> list[int]:
        """Units of each layer, from the inputs to the outputs."""
        return [inputs, *[self.width] * self.depth, classes]

    def bounds(self, inputs: int, classes: int) -> list[float]:
        """Kaiming uniform: weights of layer l start in +-bounds[l]; replaced units draw theirs from the same range."""
        fan_in = self.sizes(inputs, classes)[:-1]
        gains = [GAINS.get(self.activation, 1.0)] * self.depth + [1.0]
        return [gain * (3 / n) ** 0.5 for gain, n in zip(gains, fan_in, strict=True)]

    def initial_weights(self, seed: int, inputs: int, classes: int) -> list[np.ndarray]:
        """One float64 array `[in, out]` a layer. Biases start at 0."""
        sizes, bounds = self.sizes(inputs, classes), self.bounds(inputs, classes)
        return [
            generator(seed, "weights", layer).uniform(-bound, bound, (sizes[layer], sizes[layer + 1]))
            for layer, bound in enumerate(bounds)
        ]


class StackedMLP:
    """R networks side by side: `weights[l] [R, in, out]`, `biases[l] [R, out]`."""

    def __init__(self, architecture: MLP, weights: list[list[np.ndarray]], device: torch.device, dtype: torch.dtype):
        """`weights[r][l]` is the initial weight `[in, out]` of run r's layer l."""
        self.activation = ACTIVATIONS[architecture.activation]
        self.weights = [
            torch.from_numpy(np.stack(layer)).to(device, dtype).requires_grad_() for layer in zip(*weights, strict=True)
        ]
        self.biases = [
            torch.zeros(w.shape[0], w.shape[2], device=device, dtype=dtype, requires_grad=True) for w in self.weights
        ]

    @property
    def parameters(self) -> list[Tensor]:
        """Weight and bias of each layer in turn, so that layer l owns entries 2l and 2l + 1."""
        return [p for pair in zip(self.weights, self.biases, strict=True) for p in pair]

    def forward(self, x: Tensor, mechanisms: Sequence[ForwardHook] = ()) -> tuple[Tensor, list[Tensor]]:
        """`x [R, B, in]` -> logits `[R, B, classes]` and the activations `[R, B, n]` of each hidden layer.

        The `mechanisms` of a learner act on the activations; without them this is the bare network.
        """
        hidden: list[Tensor] = []
        for layer, (weight, bias) in enumerate(zip(self.weights[:-1], self.biases[:-1], strict=True)):
            x = self.activation(torch.baddbmm(bias.unsqueeze(1), x, weight))
            for mechanism in mechanisms:
                x = mechanism.activations(layer, x)
            hidden.append(x)
        return torch.baddbmm(self.biases[-1].unsqueeze(1), x, self.weights[-1]), hidden
