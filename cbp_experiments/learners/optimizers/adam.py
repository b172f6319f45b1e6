"""Adam and AdamW, which differ in how weight decay works."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from cbp_experiments.learners.optimizers.base import Optimizer, Updater
from cbp_experiments.networks import Where, fill


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma and Ba 2015, Algorithm 1). Epsilon is added after the bias correction."""

    beta1: float
    beta2: float
    epsilon: float

    kind: ClassVar[str] = "adam"
    published_reset: ClassVar[str] = "moments_and_count"

    def __post_init__(self) -> None:
        self.require_shares("beta1", "beta2")
        self.require_positive("epsilon")

    def updater(self, parameters: Sequence[Tensor], step_size: float, count_each: bool) -> Updater:
        return Moments(self, parameters, step_size, count_each)


@dataclass(frozen=True)
class AdamW(Adam):
    """AdamW (Loshchilov and Hutter 2019): weight decay shrinks the weights and is not part of the gradient."""

    kind: ClassVar[str] = "adamw"
    decoupled: ClassVar[bool] = True


class Moments(Updater):
    """Adam's moments. Updates are counted per weight if resets clear the counts, else per parameter."""

    def __init__(self, adam: Adam, parameters: Sequence[Tensor], step_size: float, count_each: bool):
        super().__init__(parameters, step_size)
        self.betas, self.epsilon = (adam.beta1, adam.beta2), adam.epsilon
        for i, p in enumerate(parameters):
            self.state[f"first_{i}"] = torch.zeros_like(p).detach()
            self.state[f"second_{i}"] = torch.zeros_like(p).detach()
            shape = p.shape if count_each else (p.shape[0], *[1] * (p.ndim - 1))
            self.state[f"updates_{i}"] = torch.zeros(shape, device=p.device, dtype=p.dtype)

    def update(self, gradients: Sequence[Tensor]) -> None:
        for i, (parameter, gradient) in enumerate(zip(self.parameters, gradients, strict=True)):
            first, second, updates = (self.state[f"{name}_{i}"] for name in ("first", "second", "updates"))
            take_step(parameter, gradient, first, second, updates, self.step_size, self.betas, self.epsilon)

    def reset(self, parameter: Tensor, where: Where, forget: str, chosen: Tensor | None = None) -> None:
        if forget == "none":
            return
        i = self.number(parameter)
        kept = ["first", "second"]
        if forget == "moments_and_count":
            if self.state[f"updates_{i}"].shape != parameter.shape:
                raise RuntimeError("no mechanism of this learner says that it forgets counts: there is one for all")
            kept.append("updates")
        for name in kept:
            fill(self.state[f"{name}_{i}"], where, 0.0, chosen)


def take_step(
    parameter: Tensor,
    gradient: Tensor,
    first: Tensor,
    second: Tensor,
    updates: Tensor,
    step_size: float,
    betas: tuple[float, float],
    epsilon: float,
) -> None:
    """Make Adam's update of a parameter, its moments and its count of updates (one, or one per weight), in place."""
    beta1, beta2 = betas
    first.lerp_(gradient, 1 - beta1)
    second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    updates.add_(1)
    scale = (second / (1 - beta2**updates)).sqrt_().add_(epsilon)
    parameter.sub_(first / (1 - beta1**updates) / scale, alpha=step_size)
