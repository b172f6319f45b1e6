"""The fully connected network of Online Permuted MNIST."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from cbp_experiments.errors import ConfigError
from cbp_experiments.networks.base import StackedNetwork
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


@dataclass(frozen=True)
class MLP:
    """Fully connected network (paper, Online Permuted MNIST) of `depth` hidden layers; depth 0 is a linear learner."""

    width: int = 2000
    depth: int = 3
    activation: str = "relu"

    kind: ClassVar[str] = "mlp"
    fills_a_core: ClassVar[bool] = False

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

    def describe(self, inputs: int, classes: int) -> str:
        return f"{'-'.join(map(str, self.sizes(inputs, classes)))}, {self.activation}"

    def weight_count(self, inputs: int, classes: int) -> int:
        return sum(a * b for a, b in pairwise(self.sizes(inputs, classes)))

    def bounds(self, inputs: int, classes: int) -> list[float]:
        """Kaiming uniform."""
        fan_in = self.sizes(inputs, classes)[:-1]
        gains = [GAINS.get(self.activation, 1.0)] * self.depth + [1.0]
        return [gain * (3 / n) ** 0.5 for gain, n in zip(gains, fan_in, strict=True)]

    def initial_weights(self, seed: int, inputs: int, classes: int) -> list[np.ndarray]:
        """One float64 array `[in, out]` a layer."""
        sizes, bounds = self.sizes(inputs, classes), self.bounds(inputs, classes)
        return [
            generator(seed, "weights", layer).uniform(-bound, bound, (sizes[layer], sizes[layer + 1]))
            for layer, bound in enumerate(bounds)
        ]

    def initial_biases(self, seed: int, inputs: int, classes: int) -> list[np.ndarray]:
        return [np.zeros(size) for size in self.sizes(inputs, classes)[1:]]

    def stack(
        self,
        weights: list[list[np.ndarray]],
        biases: list[list[np.ndarray]],
        device: torch.device,
        dtype: torch.dtype,
    ) -> "StackedMLP":
        return StackedMLP(self, weights, device, dtype, biases)


class StackedMLP(StackedNetwork):
    """R networks side by side: `weights[l] [R, in, out]`, `biases[l] [R, out]`."""

    def __init__(
        self,
        architecture: MLP,
        weights: list[list[np.ndarray]],
        device: torch.device,
        dtype: torch.dtype,
        biases: list[list[np.ndarray]] | None = None,
    ):
        """`weights[r][l]` is the initial weight `[in, out]` of run r's layer l; biases start at 0 unless given."""
        zeros = [[np.zeros(weight.shape[1]) for weight in run] for run in weights]
        super().__init__(weights, biases or zeros, device, dtype)
        self.activation = ACTIVATIONS[architecture.activation]

    def activate(self, layer: int, z: Tensor) -> Tensor:
        return self.activation(z)
