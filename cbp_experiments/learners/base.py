"""What a learner consists of: parts, which are hyperparameters, and what acts by them in its training step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from cbp_experiments.errors import ConfigError

if TYPE_CHECKING:
    from cbp_experiments.learners.optimizers import Optimizer
    from cbp_experiments.learners.step import Step

FORGET = ("none", "moments", "moments_and_count")  # what an optimizer may forget of a unit that is reset


@dataclass(frozen=True)
class Part:
    """Hyperparameters that check themselves; the fields of a frozen dataclass are the keys of its YAML.

    `kind` stands for the class in the names of runs. Messages of a ConfigError begin with the key; who builds the part
    puts in front of it where it stands ("learner.").
    """

    kind: ClassVar[str]

    def require(self, key: str, holds: bool, what: str) -> None:
        """Raises ConfigError, `key` must be `what`, unless it holds."""
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
    """What a learner adds to its optimizer. A subclass has hyperparameters, and `actor` makes what acts by them.

    switch: the key whose value 0 means that the mechanism is not there; None: it is there once it is named.
    needs_units: it works on hidden layers, and would do nothing without one.
    capturable: what its actor's `activations`, `gradients` and `after_update` do is the same at every update, on
    tensors alone that are changed in place: no counting in Python, no `.item()`. On a GPU a CUDA graph then repeats it.
    """

    switch: ClassVar[str | None] = None
    needs_units: ClassVar[bool] = False
    capturable: ClassVar[bool] = False

    @property
    def on(self) -> bool:
        return self.switch is None or bool(getattr(self, self.switch))

    def forgets(self, optimizer: Optimizer) -> str:
        """One of FORGET: what `optimizer` forgets of a unit that this mechanism resets."""
        return "none"

    def actor(self, step: Step) -> Actor:
        """What acts in `step`, whose network and optimizer are there."""
        raise NotImplementedError


class Actor:
    """Base of what a mechanism does in a training step: override what is needed, the rest does nothing.

    `state` is saved in checkpoints and must hold all that lasts from one update to the next: tensors `[R, ...]`.
    Random numbers come from `step.draws`, which needs nothing saved.
    """

    state: dict[str, Tensor]

    def __init__(self) -> None:
        self.state = {}

    def begin_task(self, step: Step) -> None:
        """Before the first update of a task, and where a run continues within one: `self.state` is as it was saved."""

    def activations(self, layer: int, h: Tensor) -> Tensor:
        """In the forward pass of an update: `h [R, B, n]` of a hidden layer as the next layer is to see it."""
        return h

    def gradients(self, step: Step, gradients: list[Tensor]) -> None:
        """Before the optimizer: change `gradients` (in the order of `step.network.parameters`) in place."""

    def after_update(self, step: Step, hidden: list[Tensor]) -> None:
        """After the optimizer; `hidden[l] [R, B, n]` are the activations of the forward pass that made the update."""

    def between_updates(self, step: Step) -> None:
        """After all of that, and never in a CUDA graph: what happens at some updates only."""
