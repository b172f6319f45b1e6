"""A learner's hyperparameters, and the four places of its step where a mechanism may act."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from cbp_experiments.errors import ConfigError
from cbp_experiments.learners.normalization import KINDS
from cbp_experiments.learners.optimizers import OPTIMIZERS
from cbp_experiments.learners.utilities import UTILITIES

if TYPE_CHECKING:
    from cbp_experiments.learners.step import Step

NORMALIZATIONS = ("none", *KINDS)


@dataclass(frozen=True)
class Learner:
    """One learner of the paper: an optimizer and what is added to it. Both engines read these fields by name.

    A mechanism is part of the learner when its field is not zero, so the paper's learners combine by configuration
    alone: `learner=cbp learner.optimizer=adam` is CBP on Adam.
    """

    name: str
    step_size: float
    optimizer: str = "sgd"
    momentum: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    perturbation_std: float = 0.0
    dropout: float = 0.0
    normalization: str = "none"
    normalization_decay: float = 0.999
    normalization_backward_decay: float = 0.99
    normalization_epsilon: float = 1e-5
    replacement_rate: float = 0.0
    maturity_threshold: int = 100
    decay_rate: float = 0.99
    utility: str = "adaptable_contribution"
    reset_momentum: bool = False
    reset_normalization: bool = True
    mechanisms: dict[str, Any] | None = None

    kind: ClassVar[str] = "learner"

    def __post_init__(self) -> None:
        choices: dict[str, Collection[str]] = {
            "optimizer": OPTIMIZERS,
            "utility": UTILITIES,
            "normalization": NORMALIZATIONS,
        }
        for name, kinds in choices.items():
            if getattr(self, name) not in kinds:
                raise ConfigError(f"learner.{name} must be one of {', '.join(kinds)}, got {getattr(self, name)!r}")
        if not 0 < self.step_size < float("inf"):
            raise ConfigError(f"learner.step_size must be a positive number, got {self.step_size}")
        if not 0 <= self.replacement_rate <= 1:
            raise ConfigError(
                "learner.replacement_rate must be between 0 and 1 (the share of mature units replaced at an update), "
                f"got {self.replacement_rate}"
            )
        for name in ("weight_decay", "perturbation_std"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ConfigError(f"learner.{name} must be 0 or more, got {getattr(self, name)}")
        if self.step_size * self.weight_decay >= 1:
            raise ConfigError(
                "learner.step_size x learner.weight_decay must be below 1 (an update shrinks the weights by it), "
                f"got {self.step_size} x {self.weight_decay}"
            )
        decays = ("normalization_decay", "normalization_backward_decay")
        for name in ("momentum", "dropout", "beta1", "beta2", "decay_rate", *decays):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"learner.{name} must be at least 0 and below 1, got {getattr(self, name)}")
        for name in ("epsilon", "normalization_epsilon"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ConfigError(f"learner.{name} must be a positive number, got {getattr(self, name)}")
        if not 0 <= self.maturity_threshold <= 9e18:  # what the kernel can count
            raise ConfigError(
                f"learner.maturity_threshold must be a number of updates from 0 to 9e18, got {self.maturity_threshold}"
            )
        for optimizer, kind in OPTIMIZERS.items():
            for field in fields(self):
                ignored = field.name in kind.hyperparameters and optimizer != self.optimizer
                if ignored and getattr(self, field.name) != field.default:
                    raise ConfigError(
                        f"learner.{field.name} belongs to learner.optimizer={optimizer}, and it is {self.optimizer}; "
                        f"set learner.{field.name}={field.default}"
                    )

    @property
    def resets_units(self) -> bool:
        """Whether units may be reset during training: by CBP, or by a mechanism of the user's own."""
        return bool(self.replacement_rate or self.mechanisms)


class Mechanism:
    """Base of what a learner adds to its optimizer: override what is needed, the rest does nothing.

    `state` is saved in checkpoints and must hold all that lasts from one update to the next: tensors `[R, ...]`.
    Random numbers come from `step.draws`, which needs nothing saved.

    `capturable`: what `activations`, `gradients` and `after_update` do is the same at every update, on tensors alone
    that are changed in place: no counting in Python, no `.item()`. On a GPU a CUDA graph then repeats it. A mechanism
    that says nothing is called at every update.
    """

    capturable: ClassVar[bool] = False
    state: dict[str, Tensor]

    def __init__(self) -> None:
        self.state = {}

    def prepare(self, step: Step) -> None:
        """Once, before the first update: make `self.state`."""

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
