"""Continual backpropagation's unit replacement (paper, Algorithm 1; Dohare et al. 2024, Methods)."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from cbp_experiments.learners.base import FORGET, Actor, Mechanism
from cbp_experiments.learners.optimizers import Optimizer
from cbp_experiments.learners.resetting import Resetting
from cbp_experiments.learners.step import Step
from cbp_experiments.learners.utilities import UTILITIES
from cbp_experiments.networks import fill


@dataclass(frozen=True)
class UnitReplacement(Mechanism):
    """Replaces the least useful mature units of each hidden layer, at a slow rate.

    optimizer_state: what the optimizer forgets about a replaced unit (base.FORGET). None: as published, that is,
    nothing for SGD, moments and count for Adam. reset_momentum: SGD forgets its velocity.
    """

    replacement_rate: float  # share of the mature units of a layer replaced at an update
    maturity_threshold: int  # updates before a unit may be replaced
    decay_rate: float  # of the running averages of activation and utility
    utility: str
    reset_momentum: bool
    reset_normalization: bool  # reset the statistics and parameters of a replaced unit
    optimizer_state: str | None

    kind: ClassVar[str] = "replacement"
    switch: ClassVar[str | None] = "replacement_rate"
    needs_units: ClassVar[bool] = True
    capturable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        rate = "between 0 and 1 (the share of mature units replaced at an update)"
        self.require("replacement_rate", 0 <= self.replacement_rate <= 1, rate)
        whole = "a number of updates from 0 to 9e18"  # what the kernel can count
        self.require("maturity_threshold", 0 <= self.maturity_threshold <= 9e18, whole)
        self.require_shares("decay_rate")
        self.require("utility", self.utility in UTILITIES, f"one of {', '.join(UTILITIES)}")
        self.require("optimizer_state", self.optimizer_state in (None, *FORGET), f"null or one of {', '.join(FORGET)}")
        alike = not self.reset_momentum or self.optimizer_state in (None, "moments", "moments_and_count")
        self.require("optimizer_state", alike, "moments with reset_momentum=true")

    def forgets(self, optimizer: Optimizer) -> str:
        return self.chosen_reset(optimizer.published_reset)

    def chosen_reset(self, published: str) -> str:
        """Return what is forgotten about a replaced unit by an optimizer that, as published, forgets `published`."""
        return self.optimizer_state or ("moments" if self.reset_momentum and published == "none" else published)

    def actor(self, step: Step) -> Actor:
        return Replacing(self, step, self.forgets(step.learner.chosen_optimizer))


class Replacing(Actor):
    """Tracks the utility of units and replaces them.

    State of hidden layer l, `[R, n]`: `utility_l` (u) and `mean_activation_l` (f), both before bias correction, and
    `age_l` (updates since the unit was new). `to_replace [R, layers]`, on the CPU, holds the fractions of a unit that
    are due. `replaced` lists the units replaced at the last update: (layer, units `[R, count]`), each run's least
    useful one first.
    """

    def __init__(self, replacement: UnitReplacement, step: Resetting, forget: str):
        """forget: what the optimizer forgets about a replaced unit (base.FORGET)."""
        super().__init__()
        self.replacement, self.forget = replacement, forget
        self.replaced: list[tuple[int, Tensor]] = []
        self.observed = 0  # number of activations of a unit at an update
        groups = step.network.units
        for layer, group in enumerate(groups):
            for name in ("utility", "mean_activation", "age"):
                self.state[f"{name}_{layer}"] = torch.zeros_like(group.bias).detach()
        self.state["to_replace"] = torch.zeros(step.draws.runs, len(groups), dtype=torch.float64)
        mature_only = step.network.mature_units_only
        self.schedules = [Schedule(replacement, mature_only, [0] * group.count) for group in groups]

    def begin_task(self, step: Resetting) -> None:
        fractions = self.state["to_replace"][0].tolist()
        for layer, schedule in enumerate(self.schedules):
            schedule.begin(self.state[f"age_{layer}"][0].long().tolist(), fractions[layer])

    def after_update(self, step: Resetting, hidden: list[Tensor]) -> None:
        """Update age, mean activation and utility (steps 1 to 4 of Algorithm 1)."""
        decay = self.replacement.decay_rate
        for layer, group in enumerate(step.network.units):
            h = group.observed(hidden[layer])
            age = self.state[f"age_{layer}"].add_(1)
            mean_activation = self.state[f"mean_activation_{layer}"].lerp_(h.mean(dim=(1, 3)), 1 - decay)
            incoming, outgoing = group.incoming_magnitude(), group.outgoing_magnitude()  # after the update
            corrected = mean_activation / (1 - decay**age)
            utility = UTILITIES[self.replacement.utility](h, corrected, incoming, outgoing)
            self.state[f"utility_{layer}"].lerp_(utility, 1 - decay)
            self.observed = h[0, :, 0].numel()

    def between_updates(self, step: Resetting) -> None:
        self.replaced = []
        for layer, schedule in enumerate(self.schedules):
            count = schedule.due()
            self.state["to_replace"][:, layer] = schedule.fraction
            if count:
                units = self._least_useful(step, layer, count)
                new = self.replacement.reset_normalization
                step.reset_units(layer, units, self.forget, purpose="replacement", normalization=new)
                for name in ("utility", "mean_activation", "age"):
                    fill(self.state[f"{name}_{layer}"], step.network.units[layer].own(units), 0.0)
                self.replaced.append((layer, units))

    def _least_useful(self, step: Resetting, layer: int, count: int) -> Tensor:
        """Return the mature units with the smallest bias-corrected utility, smallest first: `[R, count]`.

        A unit's first activation is its own mean. With one example and one position per update, the adaptable
        contribution of a unit of age 1 is therefore 0, and rounding must not rank it.
        """
        age, utility = self.state[f"age_{layer}"], self.state[f"utility_{layer}"]
        if self.replacement.utility == "random":
            ranking = step.draws.uniform("ranking", layer, age.shape[1:])
        else:
            ranking = utility / (1 - self.replacement.decay_rate**age)
        if self.replacement.utility == "adaptable_contribution" and self.observed == 1:
            ranking = ranking.where(age > 1, 0.0)
        ranking = ranking.where(age > self.replacement.maturity_threshold, torch.inf)
        return ranking.argsort(dim=1, stable=True)[:, :count]


class Schedule:
    """When units of a layer are due, and how many.

    This depends on how many units are mature, not on which, so it is the same for all runs and needs no value from the
    device.
    """

    def __init__(self, replacement: UnitReplacement, mature_units_only: bool, ages: Sequence[int]):
        self.rate, self.threshold = replacement.replacement_rate, replacement.maturity_threshold
        self.mature_units_only = mature_units_only
        self.begin(ages, 0.0)

    def begin(self, ages: Sequence[int], fraction: float) -> None:
        """Start from the `ages` of a run's units, in any order, and the `fraction` of a unit that is already due."""
        self.units, self.fraction, self.updates = len(ages), fraction, 0
        self.born = deque(sorted(-age for age in ages if age <= self.threshold))  # updates, counted from now
        self.mature = self.units - len(self.born)

    def due(self) -> int:
        """Count one more update; return how many mature units to replace now."""
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
