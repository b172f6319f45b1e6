"""What an optimizer is: hyperparameters, and what moves the parameters of R networks by them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from cbp_experiments.learners.base import Part
from cbp_experiments.networks import Where


@dataclass(frozen=True)
class Optimizer(Part):
    """Hyperparameters beside the step size.

    published_reset: what the published runs forget of a unit that CBP replaces. decoupled: weight decay shrinks the
    weights themselves, and is no part of the gradient.
    """

    published_reset: ClassVar[str] = "none"
    decoupled: ClassVar[bool] = False

    def updater(self, parameters: Sequence[Tensor], step_size: float, count_each: bool) -> Updater:
        """What moves these parameters `[R, ...]`. count_each: Adam counts updates for each weight, not for all."""
        raise NotImplementedError


class Updater:
    """Updater the parameters `[R, ...]` of R runs. `state` is saved in checkpoints: tensors `[R, ...]`."""

    def __init__(self, parameters: Sequence[Tensor], step_size: float):
        self.parameters, self.step_size = list(parameters), step_size
        self.state: dict[str, Tensor] = {}

    def update(self, gradients: Sequence[Tensor]) -> None:
        """Change the parameters in place."""
        raise NotImplementedError

    def reset(self, parameter: Tensor, where: Where, forget: str, chosen: Tensor | None = None) -> None:
        """Forget (base.FORGET) what is kept for `parameter[where]`, the weights of units that are made new.

        chosen: as `networks.fill` has it.
        """

    def number(self, parameter: Tensor) -> int:
        """The place of a parameter among all."""
        return next(i for i, own in enumerate(self.parameters) if own is parameter)
