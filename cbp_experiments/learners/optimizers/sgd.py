"""Stochastic gradient descent with momentum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from cbp_experiments.learners.optimizers.base import Optimizer, Updater
from cbp_experiments.networks import Where, fill


@dataclass(frozen=True)
class SGD(Optimizer):
    """v <- momentum v + gradient; w <- w - step_size v (as torch.optim.SGD)."""

    momentum: float

    kind: ClassVar[str] = "sgd"

    def __post_init__(self) -> None:
        self.require_shares("momentum")

    def updater(self, parameters: Sequence[Tensor], step_size: float, count_each: bool) -> Updater:
        return Descent(self, parameters, step_size)


class Descent(Updater):
    def __init__(self, sgd: SGD, parameters: Sequence[Tensor], step_size: float):
        super().__init__(parameters, step_size)
        self.momentum = sgd.momentum
        if self.momentum:
            self.state = {f"velocity_{i}": torch.zeros_like(p).detach() for i, p in enumerate(parameters)}

    def update(self, gradients: Sequence[Tensor]) -> None:
        if self.momentum:
            velocities = [self.state[f"velocity_{i}"] for i in range(len(self.parameters))]
            torch._foreach_mul_(velocities, self.momentum)
            torch._foreach_add_(velocities, list(gradients))
            gradients = velocities
        torch._foreach_sub_(self.parameters, list(gradients), alpha=self.step_size)

    def reset(self, parameter: Tensor, where: Where, forget: str, chosen: Tensor | None = None) -> None:
        if self.momentum and forget != "none":
            fill(self.state[f"velocity_{self.number(parameter)}"], where, 0.0, chosen)
