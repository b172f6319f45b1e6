"""Dropout (Hinton et al. 2012) on the hidden layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from cbp_experiments.learners.base import Actor, Mechanism
from cbp_experiments.learners.draws import Draws
from cbp_experiments.learners.step import Step


@dataclass(frozen=True)
class Dropout(Mechanism):
    """Sets activations to 0 with probability `dropout` in an update's forward pass; divides the rest by 1 - `dropout`.

    Online accuracy is measured in this pass. The metrics before a task are measured on the whole network.
    """

    dropout: float

    kind: ClassVar[str] = "dropout"
    switch: ClassVar[str | None] = "dropout"
    needs_units: ClassVar[bool] = True
    capturable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self.require_shares("dropout")

    def actor(self, step: Step) -> Actor:
        return Dropping(self.dropout, step.draws)


class Dropping(Actor):
    def __init__(self, probability: float, draws: Draws):
        super().__init__()
        self.probability, self.draws = probability, draws

    def activations(self, layer: int, h: Tensor) -> Tensor:
        dropped = self.draws.bernoulli("dropout", layer, h.shape[1:], self.probability)
        return h * (dropped.logical_not().to(h) / (1 - self.probability))
