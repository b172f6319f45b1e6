"""Adam as a torch optimizer, with one count of updates per weight."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from cbp_experiments.errors import ConfigError
from cbp_experiments.learners.optimizers import Adam as Hyperparameters
from cbp_experiments.learners.optimizers.adam import take_step


class Adam(torch.optim.Optimizer):
    """Adam (Kingma and Ba 2015, Algorithm 1) that counts the updates of each weight.

    It makes the steps of torch.optim.Adam up to rounding, or of AdamW with `decoupled_weight_decay=True`, until
    UnitReplacer replaces a unit: the bias correction of the new weights then starts anew, too. State of a parameter:
    `exp_avg`, `exp_avg_sq` and `updates`, all in its shape.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        decoupled_weight_decay: bool = False,
    ):
        """Arguments as in torch.optim.Adam. Raises ConfigError on a bad value."""
        Hyperparameters(*betas, eps)  # checks them
        for key, value in (("lr", lr), ("weight_decay", weight_decay)):
            if not 0 <= value < float("inf"):
                raise ConfigError(f"{key} must be 0 or more, got {value}")
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, defaults | {"decoupled_weight_decay": decoupled_weight_decay})

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update all parameters that have a gradient. closure: computes the loss and the gradients, as in torch."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.no_grad():
            for group in self.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        self._update(parameter, parameter.grad, group)
        return loss

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state |= {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq", "updates")}
        if group["decoupled_weight_decay"]:
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
        elif group["weight_decay"]:
            gradient = gradient.add(parameter, alpha=group["weight_decay"])
        moments = state["exp_avg"], state["exp_avg_sq"], state["updates"]
        take_step(parameter, gradient, *moments, group["lr"], group["betas"], group["eps"])
