"""The convolutional network of Continual ImageNet (paper, Methods)."""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import isqrt, prod
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from cbp_experiments.errors import ConfigError
from cbp_experiments.networks.base import StackedNetwork
from cbp_experiments.networks.pooling import pooled_relu
from cbp_experiments.seeding import generator

COLOURS = 3
KERNELS = (5, 3, 3)  # sides; each convolution is followed by 2x2 max-pooling
SMALLEST = 24  # smallest side in pixels: it leaves one position after the last pooling


@dataclass(frozen=True)
class ConvNet:
    """Three convolutions, each with ReLU and 2x2 max-pooling (stride 2), and two fully connected hidden layers, ReLU.

    The fully connected layers have `width` units; the convolutions have width / 4, width / 2 and width filters. With
    the paper's width of 128: 32, 64, 128, 128, 128. Inputs are the pixels of square images, `[3, side, side]`.
    Initialized as PyTorch does by default: weights and biases uniform in +-1/sqrt(fan_in).
    """

    width: int = 128

    kind: ClassVar[str] = "conv"
    fills_a_core: ClassVar[bool] = True
    depth: ClassVar[int] = len(KERNELS) + 2

    def __post_init__(self) -> None:
        if self.width < 4 or self.width % 4:
            raise ConfigError(f"network.width of a convolutional network must be a multiple of 4, got {self.width}")

    def shapes(self, inputs: int, classes: int) -> list[tuple[int, ...]]:
        """Shapes of the weights: `[out, in, side, side]` of a convolution, `[in, out]` of a fully connected layer."""
        filters = [COLOURS, self.width // 4, self.width // 2, self.width]
        units = [self.width * positions(inputs), self.width, self.width, classes]
        convolutions = [(n, c, k, k) for (c, n), k in zip(pairwise(filters), KERNELS, strict=True)]
        return [*convolutions, *pairwise(units)]

    def describe(self, inputs: int, classes: int) -> str:
        side = isqrt(inputs // COLOURS)
        *layers, last = [
            f"conv {s[2]}x{s[3]}x{s[0]}" if len(s) == 4 else str(s[1]) for s in self.shapes(inputs, classes)
        ]
        return f"{side}x{side}x{COLOURS}, {', '.join(layers)}, {last}, relu"

    def weight_count(self, inputs: int, classes: int) -> int:
        return sum(map(prod, self.shapes(inputs, classes)))

    def bounds(self, inputs: int, classes: int) -> list[float]:
        """1 / sqrt(fan_in)."""
        return [prod(s[1:] if len(s) == 4 else s[:1]) ** -0.5 for s in self.shapes(inputs, classes)]

    def initial_weights(self, seed: int, inputs: int, classes: int) -> list[np.ndarray]:
        return [
            generator(seed, "weights", layer).uniform(-bound, bound, shape)
            for layer, (bound, shape) in enumerate(
                zip(self.bounds(inputs, classes), self.shapes(inputs, classes), strict=True)
            )
        ]

    def initial_biases(self, seed: int, inputs: int, classes: int) -> list[np.ndarray]:
        units = [shape[0] if len(shape) == 4 else shape[1] for shape in self.shapes(inputs, classes)]
        return [
            generator(seed, "biases", layer).uniform(-bound, bound, n)
            for layer, (bound, n) in enumerate(zip(self.bounds(inputs, classes), units, strict=True))
        ]

    def stack(
        self,
        weights: list[list[np.ndarray]],
        biases: list[list[np.ndarray]],
        bounds: list[float],
        device: torch.device,
        dtype: torch.dtype,
    ) -> "StackedConvNet":
        return StackedConvNet(weights, biases, bounds, device, dtype)


class StackedConvNet(StackedNetwork):
    """R convolutional networks side by side, computed as one network with R groups of filters.

    `weights[l]` is `[R, out, in, side, side]` in the convolutions and `[R, in, out]` after them; activations are
    `[R, B, filters, height, width]` and `[R, B, units]`.
    """

    mature_units_only = False  # like the published runs on this network

    @cached_property
    def space(self) -> dict[Any, Tensor]:
        """Memory that pooling reuses from one update to the next (`pooled_relu`); not part of a run's state."""
        return {}

    @property
    def channels_last(self) -> int:  # type: ignore[override]
        return COLOURS if len(self.weights[0]) == 1 else 0

    def convolutional(self, layer: int) -> bool:
        return self.weights[layer].ndim == 5

    def sums(self, layer: int, x: Tensor, bias: Tensor | None) -> Tensor:
        if not self.convolutional(layer):
            return super().sums(layer, x.flatten(2), bias)
        if x.ndim == 3:
            side = isqrt(x.shape[2] // COLOURS)
            x = x.unflatten(2, (COLOURS, side, side))
        maps = side_by_side(x)
        if len(x) == 1:  # the layers keep channels last, and pooling is vectorized over them
            maps = maps.contiguous(memory_format=torch.channels_last)
        weight = self.weights[layer].flatten(0, 1)
        z = F.conv2d(maps, weight, None if bias is None else bias.flatten(), groups=len(x))
        return by_run(z, len(x))

    def activate(self, layer: int, z: Tensor) -> Tensor:
        if self.convolutional(layer):
            return by_run(pooled_relu(side_by_side(z), self.space), len(z))
        return torch.relu(z)


def positions(inputs: int) -> int:
    """Positions of a filter of the last convolution, after pooling. Raises ConfigError on unsuitable inputs."""
    side = isqrt(inputs // COLOURS)
    if inputs != COLOURS * side**2 or side < SMALLEST:
        raise ConfigError(
            f"network=conv takes square colour images of at least {SMALLEST}x{SMALLEST} pixels, and the data have "
            f"{inputs} inputs; take network=mlp"
        )
    for kernel in KERNELS:
        side = (side - kernel + 1) // 2
    return side**2


def side_by_side(x: Tensor) -> Tensor:
    """`[R, B, n, height, width]` -> `[B, R n, height, width]`: the runs as groups of channels."""
    return x.squeeze(0) if len(x) == 1 else x.transpose(0, 1).flatten(1, 2)


def by_run(x: Tensor, runs: int) -> Tensor:
    """`[B, R n, height, width]` -> `[R, B, n, height, width]`."""
    return x.unsqueeze(0) if runs == 1 else x.unflatten(1, (runs, -1)).transpose(0, 1)
