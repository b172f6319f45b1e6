"""Continual backpropagation's unit replacement (paper, Algorithm 1; Dohare et al. 2024, Methods)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from cbp_experiments.learners.base import Learner, Mechanism
from cbp_experiments.learners.utilities import UTILITIES

if TYPE_CHECKING:
    from cbp_experiments.learners.step import Step


class UnitReplacement(Mechanism):
    """Replaces the least useful mature units of each hidden layer, `replacement_rate` of them at an update.

    State of hidden layer l, `[R, n]`: `utility_l` (u), `mean_activation_l` (f, both before bias correction) and
    `age_l` (updates since the unit was new); `to_replace [R, layers]` holds the fractions of units that are due.
    `events` lists the replacements of the last update: (run, layer, unit), in order.
    """

    def __init__(self, learner: Learner, bounds: list[float]):
        """New incoming weights of layer l are uniform in +-bounds[l], as the initial ones were."""
        super().__init__()
        self.learner = learner
        self.bounds = bounds
        self.events: list[tuple[int, int, int]] = []

    def prepare(self, step: Step) -> None:
        runs = step.network.weights[0].shape[0]
        for layer, bias in enumerate(step.network.biases[:-1]):
            for name in ("utility", "mean_activation", "age"):
                self.state[f"{name}_{layer}"] = torch.zeros_like(bias).detach()
        self.state["to_replace"] = torch.zeros(
            runs, len(step.network.weights) - 1, dtype=torch.float64, device=step.network.weights[0].device
        )

    def after_update(self, step: Step, hidden: list[Tensor]) -> None:
        self.events = []
        for layer, h in enumerate(hidden):
            self._track(step, layer, h)
        for layer, h in enumerate(hidden):
            for run, unit in self._choose(step, layer, h[0, :, 0].numel()):
                self._replace(step, run, layer, unit)
                self.events.append((run, layer, unit))

    def _track(self, step: Step, layer: int, h: Tensor) -> None:
        decay = self.learner.decay_rate
        h = h.unsqueeze(3) if h.ndim == 3 else h.flatten(3)
        age = self.state[f"age_{layer}"].add_(1)
        mean_activation = self.state[f"mean_activation_{layer}"].lerp_(h.mean(dim=1).mean(dim=2), 1 - decay)
        incoming = step.network.incoming_magnitude(layer)  # both by the weights after the update
        outgoing = step.network.outgoing_magnitude(layer)
        utility = UTILITIES[self.learner.utility](h, mean_activation / (1 - decay**age), incoming, outgoing)
        self.state[f"utility_{layer}"].lerp_(utility, 1 - decay)

    def _choose(self, step: Step, layer: int, observed: int) -> Iterator[tuple[int, int]]:
        """The (run, unit) to replace now: in each run the mature units of smallest bias-corrected utility, in order.

        `observed`: activations of a unit in this update. The first one of a unit is its own mean: the adaptable
        contribution is 0 then, and rounding must not rank it.
        """
        age, utility = self.state[f"age_{layer}"], self.state[f"utility_{layer}"]
        mature = age > self.learner.maturity_threshold
        due = self.state["to_replace"][:, layer]
        eligible = mature.sum(dim=1, dtype=torch.float64)
        if not step.network.mature_units_only:
            eligible = torch.where(eligible > 0, mature.shape[1], eligible)
        due += self.learner.replacement_rate * eligible
        if not (due >= 1).any():
            return
        counts = due.floor()
        due -= counts
        ranking = utility / (1 - self.learner.decay_rate**age)
        if self.learner.utility == "adaptable_contribution" and observed == 1:
            ranking = ranking.where(age > 1, 0.0)
        ranking = ranking.where(mature, torch.inf)
        for run in torch.nonzero(counts).flatten().tolist():
            if self.learner.utility == "random":
                draws = torch.from_numpy(step.generators[run].random(len(mature[run]))).to(ranking)
                ranking[run] = torch.where(mature[run], draws, torch.inf)
            count = min(int(counts[run]), int(mature[run].sum()))
            for unit in ranking[run].argsort(stable=True)[:count].tolist():
                yield run, unit

    def _replace(self, step: Step, run: int, layer: int, unit: int) -> None:
        network, bound = step.network, self.bounds[layer]
        incoming, outgoing = (run, *network.incoming(layer, unit)), (run, *network.outgoing(layer, unit))
        weights = network.weights[layer][incoming]
        fresh: np.ndarray = step.generators[run].uniform(-bound, bound, weights.shape)
        weights.copy_(torch.from_numpy(fresh))
        network.biases[layer][run, unit] = 0.0
        network.weights[layer + 1][outgoing] = 0.0
        step.optimizer.reset(2 * layer, incoming)
        step.optimizer.reset(2 * layer + 1, (run, unit))
        step.optimizer.reset(2 * layer + 2, outgoing)
        if network.normalization and self.learner.reset_normalization:
            network.normalization.reset(run, layer, unit)
            step.optimizer.reset(2 * len(network.weights) + layer, (run, unit))
        for name in ("utility", "mean_activation", "age"):
            self.state[f"{name}_{layer}"][run, unit] = 0.0
