"""Dropout (Hinton et al. 2012) on the hidden layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from cbp_experiments.learners.base import Mechanism

if TYPE_CHECKING:
    from cbp_experiments.learners.draws import Draws
    from cbp_experiments.learners.step import Step


class Dropout(Mechanism):
    """In the forward pass of an update, sets each activation to 0 with `probability`, and divides the rest by 1 - it.

    The online accuracy is that of this pass. The metrics before a task see the whole network.
    """

    capturable = True
    draws: Draws

    def __init__(self, probability: float):
        super().__init__()
        self.probability = probability

    def prepare(self, step: Step) -> None:
        self.draws = step.draws

    def activations(self, layer: int, h: Tensor) -> Tensor:
        dropped = self.draws.bernoulli("dropout", layer, h.shape[1:], self.probability)
        return h * (dropped.logical_not().to(h) / (1 - self.probability))
