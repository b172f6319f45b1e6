"""The training step: one update of R runs at once. Everything a learner does happens here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cbp_experiments.learners.draws import Draws
from cbp_experiments.learners.objectives import LOSSES
from cbp_experiments.networks import StackedNetwork, fill, put

if TYPE_CHECKING:
    from cbp_experiments.learners.learner import Learner


class Step:
    """Forward, backward, update: a network, its optimizer, and the actors of the mechanisms around it.

    `draws` are their random numbers. An update has two halves: `learn` does the same at every update, without asking
    the device for anything, so that a CUDA graph may hold it; `between_updates` is what comes after it, at some updates
    only.
    """

    def __init__(self, learner: Learner, network: StackedNetwork, objective: str = "cross_entropy"):
        """The learner's normalization becomes the network's, and its parameters are learned, too.

        objective: one of objectives.LOSSES.
        """
        self.learner, self.network, self.loss = learner, network, LOSSES[objective]
        if normalization := learner.chosen_normalization:
            network.normalization = normalization.normalizer(network.units)
        optimizer = learner.chosen_optimizer
        forgets = {mechanism.forgets(optimizer) for mechanism in learner.mechanisms}
        self.optimizer = optimizer.updater(network.parameters, learner.step_size, "moments_and_count" in forgets)
        self.draws = Draws(len(network.weights[0]), network.weights[0].device)
        self.actors = [mechanism.actor(self) for mechanism in learner.mechanisms]

    def begin_task(self, keys: Sequence[int], updates: int = 0) -> None:
        """`keys[r]`: seeding.task_key of run r; `updates` of the task are made already."""
        self.draws.begin_task(keys, updates)
        for actor in self.actors:
            actor.begin_task(self)

    def __call__(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Learn from `x [R, B, inputs]`, `y [R, B]`: -> the loss `[R]`, and the sum of the examples' scores `[R]`.

        That is the number of right predictions, or the sum of squared errors. Both are of the prediction made before
        the update (online accuracy).
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

    def reset_units(
        self,
        layer: int,
        units: Tensor,
        forget: str,
        *,
        purpose: str,
        chosen: Tensor | None = None,
        normalization: bool = True,
    ) -> None:
        """Make the `units [R, K]` of a hidden layer new: fresh weights in, bias 0, weights out 0; normalization new.

        forget: what the optimizer forgets of them (base.FORGET). chosen: bool `[R, K]`, those of `units` that are
        meant; all by default. purpose: a name for the draws, one a mechanism; unit k of each run takes the k-th part of
        them. Call it from the input to the output: a weight between units of two layers is as the later call leaves it.
        """
        group = self.network.units[layer]
        into, own, out = group.incoming(units), group.own(units), group.outgoing(units)
        fresh = self.fresh_weights(layer, group.weight[into].shape[1:], purpose)
        put(group.weight, into, fresh.to(group.weight), chosen)
        fill(group.bias, own, 0.0, chosen)
        fill(group.out, out, 0.0, chosen)
        places = [(group.weight, into), (group.bias, own), (group.out, out)]
        if normalization and self.network.normalization:
            self.network.normalization.reset(layer, own, chosen)
            places += [(parameter, own) for parameter in self.network.of_normalization[layer]]
        for parameter, where in places:
            self.optimizer.reset(parameter, where, forget, chosen)

    def fresh_weights(self, layer: int, shape: Sequence[int], purpose: str) -> Tensor:
        """Weights into units of a hidden layer as they start, float64 `[R, *shape]`; `shape` is (count, ...)."""
        bound = self.network.units[layer].bound
        return self.draws.uniform(purpose, layer, shape).mul_(2 * bound).sub_(bound)
