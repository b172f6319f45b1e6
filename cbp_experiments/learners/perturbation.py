"""The perturbation of Shrink and Perturb (Ash and Adams 2020; paper, Methods): noise on all weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from cbp_experiments.learners.base import Actor, Mechanism
from cbp_experiments.learners.step import Step


@dataclass(frozen=True)
class Perturbation(Mechanism):
    """After every update, adds N(0, perturbation_std^2) to every weight, bias and gain, the output layer's included.

    The noise is not multiplied by the step size. With weight decay this is Shrink and Perturb.
    """

    perturbation_std: float

    kind: ClassVar[str] = "perturbation"
    switch: ClassVar[str | None] = "perturbation_std"
    capturable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self.require_0_or_more("perturbation_std")

    def actor(self, step: Step) -> Actor:
        return Perturbing(self.perturbation_std)


class Perturbing(Actor):
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
        """Draw N(0, 1) for all parameters of the network, one after the other: `[R, count]`."""
        return step.draws.normal("perturbation", 0, (count,), dtype)
