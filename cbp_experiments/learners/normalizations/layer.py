"""Layer normalization."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from cbp_experiments.learners.normalizations.base import Normalization, Normalizer
from cbp_experiments.networks import Units, along_units


@dataclass(frozen=True)
class LayerNormalization(Normalization):
    """Layer normalization (Ba et al. 2016, as torch.nn.LayerNorm): gain N(sums + bias) + offset, example by example.

    Mean and variance are taken over the units of a layer; in a convolution, over its channels and positions.
    """

    normalization_epsilon: float

    kind: ClassVar[str] = "layer"

    def __post_init__(self) -> None:
        self.require_positive("normalization_epsilon")

    def normalizer(self, units: Sequence[Units]) -> Normalizer:
        return OfLayers(self, units)


class OfLayers(Normalizer):
    initial_parameters: ClassVar[dict[str, float]] = {"gain": 1.0, "offset": 0.0}
    initial: ClassVar[dict[str, float]] = {}

    def __init__(self, layer: LayerNormalization, units: Sequence[Units]):
        super().__init__(units)
        self.epsilon = layer.normalization_epsilon

    def __call__(self, layer: int, sums: Tensor, bias: Tensor, learning: bool) -> Tensor:
        z = sums + along_units(bias, sums)
        variance, mean = torch.var_mean(z, dim=list(range(2, z.ndim)), correction=0, keepdim=True)
        gain, offset = self.parameters[layer]
        return along_units(gain, z) * ((z - mean) / (variance + self.epsilon).sqrt()) + along_units(offset, z)
