"""Dropout (Hinton et al. 2012) on the hidden layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from cbp_experiments.learners.base import Mechanism

if TYPE_CHECKING:
    from cbp_experiments.learners.step import Step


class Dropout(Mechanism):
    """In the forward pass of an update, sets each activation to 0 with `probability`, and divides the rest by 1 - it.

    The online accuracy is that of this pass. The metrics before a task see the whole network.
    """

    def __init__(self, probability: float):
        super().__init__()
        self.probability = probability
        self.generators: list[np.random.Generator] = []

    def begin_task(self, step: Step, generators: list[np.random.Generator]) -> None:
        self.generators = generators

    def activations(self, layer: int, h: Tensor) -> Tensor:
        kept = np.stack([generator.random(h.shape[1:]) >= self.probability for generator in self.generators])
        return h * (torch.from_numpy(kept).to(h) / (1 - self.probability))
