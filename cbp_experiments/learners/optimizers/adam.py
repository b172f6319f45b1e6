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
        beta1, beta2 = self.betas
        for i, (parameter, gradient) in enumerate(zip(self.parameters, gradients, strict=True)):
            first = self.state[f"first_{i}"].lerp_(gradient, 1 - beta1)
            second = self.state[f"second_{i}"].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
            t = self.state[f"updates_{i}"].add_(1)
            scale = (second / (1 - beta2**t)).sqrt_().add_(self.epsilon)
            parameter.sub_(first / (1 - beta1**t) / scale, alpha=self.step_size)

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
