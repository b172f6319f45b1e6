"""L2 regularization (paper, Methods; as torch.optim.SGD's weight_decay)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from cbp_experiments.learners.base import Actor, Mechanism
from cbp_experiments.learners.step import Step


@dataclass(frozen=True)
class WeightDecay(Mechanism):
    """Adds `weight_decay` x parameter to the gradient of every weight, bias and gain.

    With AdamW, whose decay is decoupled, every update shrinks the parameters by step size x `weight_decay` instead.
    """

    weight_decay: float

    kind: ClassVar[str] = "weight_decay"
    switch: ClassVar[str | None] = "weight_decay"
    capturable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self.require_0_or_more("weight_decay")

    def actor(self, step: Step) -> Actor:
        return Shrinking(self.weight_decay)


class Shrinking(Actor):
    def __init__(self, weight_decay: float):
        super().__init__()
        self.weight_decay = weight_decay

    def gradients(self, step: Step, gradients: list[Tensor]) -> None:
        for parameter, gradient in zip(step.network.parameters, gradients, strict=True):
            if step.learner.chosen_optimizer.decoupled:
                parameter.mul_(1 - step.learner.step_size * self.weight_decay)
            else:
                gradient.add_(parameter, alpha=self.weight_decay)
