"""The perturbation of Shrink and Perturb (Ash and Adams 2020; paper, Methods): noise on all weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
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
        parameters = step.network.parameters
        sizes = [parameter[0].numel() for parameter in parameters]
        noise = self.noise(step, sum(sizes), parameters[0].dtype).split(sizes, dim=1)
        for parameter, own in zip(parameters, noise, strict=True):
            parameter.add_(own.unflatten(1, parameter.shape[1:]), alpha=self.std)

    def noise(self, step: Step, count: int, dtype: torch.dtype) -> Tensor:
        """N(0, 1) for all parameters of the network one after the other: `[R, count]`."""
        return step.draws.normal("perturbation", 0, (count,), dtype)
