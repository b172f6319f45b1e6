"""The training step: one update of R runs at once. Everything a learner does happens here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cbp_experiments.learners.draws import Draws
from cbp_experiments.learners.objectives import LOSSES
from cbp_experiments.learners.optimizers import Updater
from cbp_experiments.learners.resetting import Resetting
from cbp_experiments.networks import StackedNetwork

if TYPE_CHECKING:
    from cbp_experiments.learners.learner import Learner


class Step(Resetting):
    """Forward, backward, update: a network, its optimizer, and the actors of the learner's mechanisms.

    `draws` gives the actors random numbers. An update has two halves: `learn` does the same at every update and reads
    nothing back from the device, so that a CUDA graph can capture it; `between_updates` follows, for work that happens
    only at some updates.
    """

    network: StackedNetwork
    optimizer: Updater

    def __init__(self, learner: Learner, network: StackedNetwork, objective: str = "cross_entropy"):
        """Give the network the learner's normalization, whose parameters are learned, too.

        objective: a key of objectives.LOSSES.
        """
        self.learner, self.loss = learner, LOSSES[objective]
        if normalization := learner.chosen_normalization:
            network.normalization = normalization.normalizer(network.units)
        optimizer = learner.chosen_optimizer
        forgets = {mechanism.forgets(optimizer) for mechanism in learner.mechanisms}
        updater = optimizer.updater(network.parameters, learner.step_size, "moments_and_count" in forgets)
        super().__init__(network, updater, Draws(len(network.weights[0]), network.weights[0].device))
        self.actors = [mechanism.actor(self) for mechanism in learner.mechanisms]

    def begin_task(self, keys: Sequence[int], updates: int = 0) -> None:
        """Start a task. `keys[r]`: seeding.task_key of run r; `updates` updates of the task are already made."""
        self.draws.begin_task(keys, updates)
        for actor in self.actors:
            actor.begin_task(self)

    def __call__(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Learn from `x [R, B, inputs]`, `y [R, B]`. Returns the loss `[R]` and the sum of the examples' scores `[R]`.

        The scores add up to the number of right predictions or to the sum of squared errors. Loss and scores are those
        of the predictions before the update (online accuracy).
        """
        outcome = self.learn(x, y)
        self.between_updates()
        return outcome

    def learn(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        self.draws.next_update()
        outputs, hidden = self.network.forward(x, self.actors)
        losses, scores = self.loss(outputs, y)
        losses = losses.mean(dim=1)
        gradients = list(torch.autograd.grad(losses.sum(), self.network.parameters))  # runs do not share parameters
        with torch.no_grad():
            for actor in self.actors:
                actor.gradients(self, gradients)
            self.optimizer.update(gradients)
            for actor in self.actors:
                actor.after_update(self, hidden)
            return losses.detach(), scores.sum(dim=1)

    @torch.no_grad()
    def between_updates(self) -> None:
        for actor in self.actors:
            actor.between_updates(self)
