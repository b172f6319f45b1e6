"""Building blocks of a learner: parts, which hold hyperparameters, and actors, which apply them in a training step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from cbp_experiments.errors import ConfigError

if TYPE_CHECKING:
    from cbp_experiments.learners.optimizers import Optimizer
    from cbp_experiments.learners.step import Step

FORGET = ("none", "moments", "moments_and_count")  # what an optimizer may forget about a unit that is reset


@dataclass(frozen=True)
class Part:
    """Hyperparameters that check themselves. The fields of the frozen dataclass are the keys of its YAML.

    `kind` stands for the class in the names of runs. The message of a ConfigError begins with the key; the caller that
    builds the part prepends its prefix ("learner.").
    """

    kind: ClassVar[str]

    def require(self, key: str, holds: bool, what: str) -> None:
        """Raise ConfigError (`key` must be `what`) unless `holds`."""
        if not holds:
            raise ConfigError(f"{key} must be {what}, got {getattr(self, key)!r}")

    def require_shares(self, *keys: str) -> None:
        for key in keys:
            self.require(key, 0 <= getattr(self, key) < 1, "at least 0 and below 1")

    def require_positive(self, *keys: str) -> None:
        for key in keys:
            self.require(key, 0 < getattr(self, key) < float("inf"), "a positive number")

    def require_0_or_more(self, *keys: str) -> None:
        for key in keys:
            self.require(key, 0 <= getattr(self, key) < float("inf"), "0 or more")


@dataclass(frozen=True)
class Mechanism(Part):
    """Addition to a learner's optimizer. A subclass holds hyperparameters; `actor` makes the Actor that applies them.

    switch: the key whose value 0 turns the mechanism off. None: the mechanism is on whenever it is named.
    needs_units: it works on hidden layers and would do nothing without one.
    capturable: its actor's `activations`, `gradients` and `after_update` do the same at every update, only on tensors
    that are changed in place: no counting in Python, no `.item()`. On a GPU, a CUDA graph then repeats them.
    """

    switch: ClassVar[str | None] = None
    needs_units: ClassVar[bool] = False
    capturable: ClassVar[bool] = False

    @property
    def on(self) -> bool:
        return self.switch is None or bool(getattr(self, self.switch))

    def forgets(self, optimizer: Optimizer) -> str:
        """Return what `optimizer` forgets about a unit that this mechanism resets: one of FORGET."""
        return "none"

    def actor(self, step: Step) -> Actor:
        """Make the actor for `step`, which already has its network and optimizer."""
        raise NotImplementedError


class Actor:
    """Base class for the work of a mechanism in a training step. Override the methods you need; the others do nothing.

    `state` is saved in checkpoints and must hold everything that lasts from one update to the next: tensors `[R, ...]`.
    Random numbers come from `step.draws`, which needs no saved state.
    """

    state: dict[str, Tensor]

    def __init__(self) -> None:
        self.state = {}

    def begin_task(self, step: Step) -> None:
        """Called before a task's first update, and when a run resumes within a task, with `self.state` as saved."""

    def activations(self, layer: int, h: Tensor) -> Tensor:
        """Called in an update's forward pass: return a hidden layer's `h [R, B, n]` as the next layer should see it."""
        return h

    def gradients(self, step: Step, gradients: list[Tensor]) -> None:
        """Called before the optimizer: change `gradients` (in the order of `step.network.parameters`) in place."""

    def after_update(self, step: Step, hidden: list[Tensor]) -> None:
        """Called after the optimizer. `hidden[l] [R, B, n]`: activations of the update's forward pass."""

    def between_updates(self, step: Step) -> None:
        """Called last, never in a CUDA graph: for work that happens only at some updates."""
