"""Batch normalization."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from cbp_experiments.learners.normalizations.base import Normalization, Normalizer, OfStatistics, others
from cbp_experiments.networks import Units


@dataclass(frozen=True)
class BatchNormalization(Normalization):
    """Batch normalization (Ioffe and Szegedy 2015, Algorithm 1): the gradient flows through the statistics.

    Updates use the statistics of the mini-batch. The running statistics are those of torch.nn.BatchNorm1d, with a
    momentum of `1 - normalization_decay`.
    """

    normalization_decay: float
    normalization_epsilon: float

    kind: ClassVar[str] = "batch"
    minibatches: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self.require_shares("normalization_decay")
        self.require_positive("normalization_epsilon")

    def normalizer(self, units: Sequence[Units]) -> Normalizer:
        return OfMiniBatches(units, self.normalization_decay, self.normalization_epsilon)


class OfMiniBatches(OfStatistics):
    def learn(self, layer: int, x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(x, dim=others(x), correction=0)
        with torch.no_grad():
            examples = x.numel() // mean.numel()
            self.state[f"mean_{layer}"].lerp_(mean, 1 - self.decay)
            self.state[f"variance_{layer}"].lerp_(variance * (examples / (examples - 1)), 1 - self.decay)
        return self.standardize(x, mean, variance)
