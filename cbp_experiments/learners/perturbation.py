"""The perturbation of Shrink and Perturb (Ash and Adams 2020; paper, Methods): noise on all weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from cbp_experiments.learners.base import Mechanism

if TYPE_CHECKING:
    from cbp_experiments.learners.step import Step


class Perturbation(Mechanism):
    """After every update, adds N(0, std^2) to every weight, bias and gain, those of the output layer included.

    The noise is not multiplied by the step size. With weight decay this is Shrink and Perturb.
    """

    def __init__(self, std: float):
        super().__init__()
        self.std = std

    def begin_task(self, step: Step, generators: list[np.random.Generator]) -> None:
        device = step.network.weights[0].device
        seeds = [int(generator.integers(2**63)) for generator in generators]
        self.sources = [torch.Generator(device).manual_seed(seed) for seed in seeds]

    def after_update(self, step: Step, hidden: list[Tensor]) -> None:
        for weight, bias in zip(step.network.weights, step.network.biases, strict=True):
            self.perturb(bias)
            self.perturb(weight)
        for gain in step.network.gains:
            self.perturb(gain)

    def perturb(self, parameter: Tensor) -> None:
        """Add noise to `parameter [R, ...]`, each run's from its own source."""
        for run, source in enumerate(self.sources):
            parameter[run] += torch.empty_like(parameter[run]).normal_(0.0, self.std, generator=source)
