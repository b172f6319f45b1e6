"""SGD with momentum, and Adam, on parameters with a leading run dimension."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol

import torch
from torch import Tensor

from cbp_experiments.networks import Where, fill

if TYPE_CHECKING:
    from cbp_experiments.learners.base import Learner


class Optimizer(Protocol):
    """`state` is saved in checkpoints: tensors `[R, ...]`.

    `hyperparameters`: the fields of Learner that are this optimizer's alone. With another one they are refused.
    """

    hyperparameters: ClassVar[tuple[str, ...]]
    state: dict[str, Tensor]

    def update(self, parameters: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
        """Change the parameters in place."""

    def reset(self, parameter: int, where: Where) -> None:
        """Forget what is kept for `parameters[parameter][where]`, the weights of units that have been drawn anew."""


class SGD:
    """v <- momentum v + gradient; w <- w - step_size v (as torch.optim.SGD)."""

    hyperparameters: ClassVar[tuple[str, ...]] = ("momentum",)

    def __init__(self, learner: Learner, parameters: Sequence[Tensor]):
        self.step_size, self.momentum, self.reset_momentum = learner.step_size, learner.momentum, learner.reset_momentum
        self.state = {}
        if self.momentum:
            self.state = {f"velocity_{i}": torch.zeros_like(p).detach() for i, p in enumerate(parameters)}

    def update(self, parameters: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
        if self.momentum:
            velocities = [self.state[f"velocity_{i}"] for i in range(len(parameters))]
            torch._foreach_mul_(velocities, self.momentum)
            torch._foreach_add_(velocities, list(gradients))
            gradients = velocities
        torch._foreach_sub_(list(parameters), list(gradients), alpha=self.step_size)

    def reset(self, parameter: int, where: Where) -> None:
        if self.momentum and self.reset_momentum:
            fill(self.state[f"velocity_{parameter}"], where, 0.0)


class Adam:
    """Kingma and Ba 2015, Algorithm 1, with one step count a weight, so that a unit that is reset starts afresh.

    epsilon is added after the bias correction. The count is one number a parameter where no unit is ever reset.
    """

    hyperparameters: ClassVar[tuple[str, ...]] = ("beta1", "beta2", "epsilon")

    def __init__(self, learner: Learner, parameters: Sequence[Tensor]):
        self.step_size, self.betas, self.epsilon = learner.step_size, (learner.beta1, learner.beta2), learner.epsilon
        self.state = {}
        for i, p in enumerate(parameters):
            self.state[f"first_{i}"] = torch.zeros_like(p).detach()
            self.state[f"second_{i}"] = torch.zeros_like(p).detach()
            shape = p.shape if learner.resets_units else (p.shape[0], *[1] * (p.ndim - 1))
            self.state[f"updates_{i}"] = torch.zeros(shape, device=p.device, dtype=p.dtype)

    def update(self, parameters: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
        beta1, beta2 = self.betas
        for i, (parameter, gradient) in enumerate(zip(parameters, gradients, strict=True)):
            first = self.state[f"first_{i}"].lerp_(gradient, 1 - beta1)
            second = self.state[f"second_{i}"].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
            t = self.state[f"updates_{i}"].add_(1)
            scale = (second / (1 - beta2**t)).sqrt_().add_(self.epsilon)
            parameter.sub_(first / (1 - beta1**t) / scale, alpha=self.step_size)

    def reset(self, parameter: int, where: Where) -> None:
        if self.state[f"updates_{parameter}"].shape != self.state[f"first_{parameter}"].shape:
            raise RuntimeError("this learner resets no units: Adam has one count for all weights of a parameter")
        for kept in ("first", "second", "updates"):
            fill(self.state[f"{kept}_{parameter}"], where, 0.0)


OPTIMIZERS: dict[str, type[SGD] | type[Adam]] = {"sgd": SGD, "adam": Adam}
