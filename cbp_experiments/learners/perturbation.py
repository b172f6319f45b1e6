"""The perturbation of Shrink and Perturb (Ash and Adams 2020; paper, Methods): noise on all weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from cbp_experiments.learners.base import Mechanism

if TYPE_CHECKING:
    from cbp_experiments.learners.step import Step


class Perturbation(Mechanism):
    """After every update, adds N(0, std^2) to every weight, bias and gain, those of the output layer included.

    The noise is not multiplied by the step size. With weight decay this is Shrink and Perturb.
    """

    capturable = True

    def __init__(self, std: float):
        super().__init__()
        self.std = std

    def after_update(self, step: Step, hidden: list[Tensor]) -> None:
        for i, parameter in enumerate(step.network.parameters):
            parameter.add_(self.noise(step, i, parameter), alpha=self.std)

    def noise(self, step: Step, i: int, parameter: Tensor) -> Tensor:
        """N(0, 1) for parameter i of the network, `[R, ...]`."""
        return step.draws.normal("perturbation", i, parameter.shape[1:], parameter.dtype)
