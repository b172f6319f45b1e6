"""The fully connected network of Online Permuted MNIST."""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from cbp_experiments.errors import ConfigError
from cbp_experiments.networks.activations import activation
from cbp_experiments.networks.base import StackedNetwork
from cbp_experiments.seeding import generator


@dataclass(frozen=True)
class MLP:
    """Fully connected network (paper, Online Permuted MNIST) with `depth` hidden layers; depth 0: a linear learner."""

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
        activation(self.activation)  # raises if there is none

    def sizes(self, inputs: int, classes: int) -> list[int]:
        """Units of each layer, from the inputs to the outputs."""
        return [inputs, *[self.width] * self.depth, classes]

    def shapes(self, inputs: int, classes: int) -> list[tuple[int, int]]:
        """`[in, out]` of each layer's weight. With activations in halves, each unit is two inputs of the next layer."""
        sizes, per_unit = self.sizes(inputs, classes), 2 if activation(self.activation).halves else 1
        return [(n if layer == 0 else per_unit * n, m) for layer, (n, m) in enumerate(pairwise(sizes))]

    def describe(self, inputs: int, classes: int) -> str:
        return f"{'-'.join(map(str, self.sizes(inputs, classes)))}, {self.activation}"

    def weight_count(self, inputs: int, classes: int) -> int:
        return sum(a * b for a, b in self.shapes(inputs, classes))

    def bounds(self, inputs: int, classes: int) -> list[float]:
        """Bounds of Kaiming uniform weights."""
        gains = [activation(self.activation).gain] * self.depth + [1.0]
        return [gain * (3 / n) ** 0.5 for gain, (n, _) in zip(gains, self.shapes(inputs, classes), strict=True)]

    def initial_weights(self, seed: int, inputs: int, classes: int) -> list[np.ndarray]:
        """One float64 array `[in, out]` per layer."""
        layers = zip(self.shapes(inputs, classes), self.bounds(inputs, classes), strict=True)
        return [
            generator(seed, "weights", layer).uniform(-bound, bound, shape)
            for layer, (shape, bound) in enumerate(layers)
        ]

    def initial_biases(self, seed: int, inputs: int, classes: int) -> list[np.ndarray]:
        return [np.zeros(size) for size in self.sizes(inputs, classes)[1:]]

    def stack(
        self,
        weights: list[list[np.ndarray]],
        biases: list[list[np.ndarray]],
        bounds: list[float],
        device: torch.device,
        dtype: torch.dtype,
    ) -> "StackedMLP":
        return StackedMLP(self, weights, biases, bounds, device, dtype)


class StackedMLP(StackedNetwork):
    """R networks side by side: `weights[l] [R, in, out]`, `biases[l] [R, out]`."""

    def __init__(
        self,
        architecture: MLP,
        weights: list[list[np.ndarray]],
        biases: list[list[np.ndarray]],
        bounds: list[float],
        device: torch.device,
        dtype: torch.dtype,
    ):
        """`weights[r][l]` is the initial weight `[in, out]` of run r's layer l; the rest as in `StackedNetwork`."""
        self.activation = activation(architecture.activation)
        super().__init__(weights, biases, bounds, device, dtype, halves=self.activation.halves)

    def activate(self, layer: int, z: Tensor) -> Tensor:
        return self.activation.function(z)
