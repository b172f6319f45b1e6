"""The training step: one update of R runs at once. Everything a learner does happens here."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from cbp_experiments.learners.base import Mechanism
from cbp_experiments.learners.draws import Draws
from cbp_experiments.learners.optimizers import Optimizer
from cbp_experiments.networks import StackedNetwork


class Step:
    """Forward, backward, update: a network, its optimizer, and the mechanisms that act around it.

    `draws` are the random numbers of the mechanisms. An update has two halves: `learn` does the same at every update,
    without asking the device for anything, so that a CUDA graph may hold it; `between_updates` is what comes after it,
    at some updates only.
    """

    def __init__(self, network: StackedNetwork, optimizer: Optimizer, mechanisms: Sequence[Mechanism]):
        self.network = network
        self.optimizer = optimizer
        self.mechanisms = mechanisms
        self.draws = Draws(len(network.weights[0]), network.weights[0].device)
        for mechanism in mechanisms:
            mechanism.prepare(self)

    def begin_task(self, keys: Sequence[int], updates: int = 0) -> None:
        """`keys[r]`: seeding.task_key of run r; `updates` of the task are made already."""
        self.draws.begin_task(keys, updates)
        for mechanism in self.mechanisms:
            mechanism.begin_task(self)

    def __call__(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Learn from `x [R, B, inputs]`, `y [R, B]`: -> the loss `[R]` and the number of right predictions `[R]`.

        Both are of the prediction made before the update (online accuracy).
        """
        outcome = self.learn(x, y)
        self.between_updates()
        return outcome

    def learn(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        self.draws.next_update()
        logits, hidden = self.network.forward(x, self.mechanisms)
        losses = F.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none").view(y.shape).mean(dim=1)
        gradients = list(torch.autograd.grad(losses.sum(), self.network.parameters))  # runs do not share parameters
        with torch.no_grad():
            for mechanism in self.mechanisms:
                mechanism.gradients(self, gradients)
            self.optimizer.update(self.network.parameters, gradients)
            for mechanism in self.mechanisms:
                mechanism.after_update(self, hidden)
            return losses.detach(), (logits.argmax(dim=2) == y).sum(dim=1)

    @torch.no_grad()
    def between_updates(self) -> None:
        for mechanism in self.mechanisms:
            mechanism.between_updates(self)
