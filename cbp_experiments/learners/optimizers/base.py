"""Base classes of an optimizer: its hyperparameters, and the updater of the parameters of R networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from cbp_experiments.learners.base import Part
from cbp_experiments.networks import Where


@dataclass(frozen=True)
class Optimizer(Part):
    """Hyperparameters of an optimizer, except the step size.

    published_reset: what the published runs forget about a unit that CBP replaces (learners.base.FORGET).
    decoupled: weight decay shrinks the weights themselves and is not part of the gradient.
    """

    published_reset: ClassVar[str] = "none"
    decoupled: ClassVar[bool] = False

    def updater(self, parameters: Sequence[Tensor], step_size: float, count_each: bool) -> Updater:
        """Make the updater of the parameters `[R, ...]`. count_each: Adam counts updates per weight, not per array."""
        raise NotImplementedError


class Updater:
    """Updates the parameters `[R, ...]` of R runs. `state` is saved in checkpoints: tensors `[R, ...]`."""

    def __init__(self, parameters: Sequence[Tensor], step_size: float):
        self.parameters, self.step_size = list(parameters), step_size
        self.state: dict[str, Tensor] = {}

    def update(self, gradients: Sequence[Tensor]) -> None:
        """Change the parameters in place."""
        raise NotImplementedError

    def reset(self, parameter: Tensor, where: Where, forget: str, chosen: Tensor | None = None) -> None:
        """Forget the state of `parameter[where]`, the weights of units that are reset.

        forget: one of learners.base.FORGET. chosen: as in `networks.fill`.
        """

    def number(self, parameter: Tensor) -> int:
        """Return the index of a parameter in `parameters`."""
        return next(i for i, own in enumerate(self.parameters) if own is parameter)
