"""Continual backpropagation's unit replacement (paper, Algorithm 1; Dohare et al. 2024, Methods)."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cbp_experiments.learners.base import Learner, Mechanism
from cbp_experiments.learners.utilities import UTILITIES
from cbp_experiments.networks import fill

if TYPE_CHECKING:
    from cbp_experiments.learners.step import Step


class UnitReplacement(Mechanism):
    """Replaces the least useful mature units of each hidden layer, `replacement_rate` of them at an update.

    State of hidden layer l, `[R, n]`: `utility_l` (u), `mean_activation_l` (f, both before bias correction) and
    `age_l` (updates since the unit was new); `to_replace [R, layers]`, on the CPU, holds the fractions of units that
    are due. `replaced` has those of the last update: (layer, units `[R, count]`), each run's least useful one first.
    """

    capturable = True

    def __init__(self, learner: Learner, bounds: list[float]):
        """New incoming weights of layer l are uniform in +-bounds[l], as the initial ones were."""
        super().__init__()
        self.learner = learner
        self.bounds = bounds
        self.replaced: list[tuple[int, Tensor]] = []
        self.schedules: list[Schedule] = []
        self.observed = 0  # activations of a unit at an update

    def prepare(self, step: Step) -> None:
        hidden = step.network.biases[:-1]
        for layer, bias in enumerate(hidden):
            for name in ("utility", "mean_activation", "age"):
                self.state[f"{name}_{layer}"] = torch.zeros_like(bias).detach()
        self.state["to_replace"] = torch.zeros(len(step.network.weights[0]), len(hidden), dtype=torch.float64)
        new = [[0] * bias.shape[1] for bias in hidden]
        self.schedules = [Schedule(self.learner, step.network.mature_units_only, ages) for ages in new]

    def begin_task(self, step: Step) -> None:
        fractions = self.state["to_replace"][0].tolist()
        for layer, schedule in enumerate(self.schedules):
            schedule.begin(self.state[f"age_{layer}"][0].long().tolist(), fractions[layer])

    def after_update(self, step: Step, hidden: list[Tensor]) -> None:
        """Age, mean activation and utility (steps 1 to 4 of Algorithm 1)."""
        decay = self.learner.decay_rate
        for layer, h in enumerate(hidden):
            h = h.unsqueeze(3) if h.ndim == 3 else h.flatten(3)
            age = self.state[f"age_{layer}"].add_(1)
            mean_activation = self.state[f"mean_activation_{layer}"].lerp_(h.mean(dim=(1, 3)), 1 - decay)
            incoming = step.network.incoming_magnitude(layer)  # both by the weights after the update
            outgoing = step.network.outgoing_magnitude(layer)
            utility = UTILITIES[self.learner.utility](h, mean_activation / (1 - decay**age), incoming, outgoing)
            self.state[f"utility_{layer}"].lerp_(utility, 1 - decay)
            self.observed = h[0, :, 0].numel()

    def between_updates(self, step: Step) -> None:
        self.replaced = []
        for layer, schedule in enumerate(self.schedules):
            count = schedule.due()
            self.state["to_replace"][:, layer] = schedule.fraction
            if count:
                units = self._least_useful(step, layer, count)
                self._replace(step, layer, units)
                self.replaced.append((layer, units))

    def _least_useful(self, step: Step, layer: int, count: int) -> Tensor:
        """The mature units of smallest bias-corrected utility in order: `[R, count]`.

        The first activation of a unit is its own mean: with one example and one position an update, the adaptable
        contribution of a unit of age 1 is 0, and rounding must not rank it.
        """
        age, utility = self.state[f"age_{layer}"], self.state[f"utility_{layer}"]
        if self.learner.utility == "random":
            ranking = step.draws.uniform("ranking", layer, age.shape[1:])
        else:
            ranking = utility / (1 - self.learner.decay_rate**age)
        if self.learner.utility == "adaptable_contribution" and self.observed == 1:
            ranking = ranking.where(age > 1, 0.0)
        ranking = ranking.where(age > self.learner.maturity_threshold, torch.inf)
        return ranking.argsort(dim=1, stable=True)[:, :count]

    def _replace(self, step: Step, layer: int, units: Tensor) -> None:
        network, optimizer = step.network, step.optimizer
        incoming, outgoing = network.incoming(layer, units), network.outgoing(layer, units)
        own = network.of_runs(units)
        fresh = self.fresh_weights(step, layer, network.weights[layer][incoming].shape[1:])
        network.weights[layer][incoming] = fresh.to(network.weights[layer])
        fill(network.biases[layer], own, 0.0)
        fill(network.weights[layer + 1], outgoing, 0.0)
        optimizer.reset(2 * layer, incoming)
        optimizer.reset(2 * layer + 1, own)
        optimizer.reset(2 * layer + 2, outgoing)
        if network.normalization and self.learner.reset_normalization:
            network.normalization.reset(layer, own)
            optimizer.reset(2 * len(network.weights) + layer, own)
        for name in ("utility", "mean_activation", "age"):
            fill(self.state[f"{name}_{layer}"], own, 0.0)

    def fresh_weights(self, step: Step, layer: int, shape: Sequence[int]) -> Tensor:
        """Incoming weights of replaced units, float64 `[R, *shape]`; `shape` is (count, ...)."""
        bound = self.bounds[layer]
        return step.draws.uniform("replacement", layer, shape).mul_(2 * bound).sub_(bound)


class Schedule:
    """When how many units of a layer are due: it depends on how many are mature, not on which, and so is the same for
    all runs and known without asking their device."""

    def __init__(self, learner: Learner, mature_units_only: bool, ages: Sequence[int]):
        self.rate, self.threshold = learner.replacement_rate, learner.maturity_threshold
        self.mature_units_only = mature_units_only
        self.begin(ages, 0.0)

    def begin(self, ages: Sequence[int], fraction: float) -> None:
        """`ages` of a run's units, in any order; `fraction`: of a unit that is due already."""
        self.units, self.fraction, self.updates = len(ages), fraction, 0
        self.born = deque(sorted(-age for age in ages if age <= self.threshold))  # updates, counted from now
        self.mature = self.units - len(self.born)

    def due(self) -> int:
        """After one more update: how many mature units to replace now."""
        self.updates += 1
        while self.born and self.updates - self.born[0] > self.threshold:
            self.born.popleft()
            self.mature += 1
        eligible = self.mature if self.mature_units_only or not self.mature else self.units
        self.fraction += self.rate * eligible
        due = int(self.fraction)
        self.fraction -= due
        count = min(due, self.mature)
        self.mature -= count
        self.born.extend([self.updates] * count)
        return count
