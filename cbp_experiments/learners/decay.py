"""L2 regularization (paper, Methods; as torch.optim.SGD's weight_decay)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from cbp_experiments.learners.base import Mechanism

if TYPE_CHECKING:
    from cbp_experiments.learners.step import Step


class WeightDecay(Mechanism):
    """Adds `weight_decay` x parameter to the gradient of every weight, bias and gain."""

    capturable = True

    def __init__(self, weight_decay: float):
        super().__init__()
        self.weight_decay = weight_decay

    def gradients(self, step: Step, gradients: list[Tensor]) -> None:
        for parameter, gradient in zip(step.network.parameters, gradients, strict=True):
            gradient.add_(parameter, alpha=self.weight_decay)
