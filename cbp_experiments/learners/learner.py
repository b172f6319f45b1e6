"""A learner: its name, its step size and its parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, ClassVar, TypeVar

from cbp_experiments.errors import ConfigError
from cbp_experiments.learners.base import Mechanism, Part
from cbp_experiments.learners.decay import WeightDecay
from cbp_experiments.learners.dropout import Dropout
from cbp_experiments.learners.normalizations import NORMALIZATIONS, Normalization
from cbp_experiments.learners.optimizers import OPTIMIZERS, Optimizer
from cbp_experiments.learners.perturbation import Perturbation
from cbp_experiments.learners.replacement import UnitReplacement

# The paper's mechanisms, in the order in which they act. Their keys are keys of the learner: learner.weight_decay.
MECHANISMS: tuple[type[Mechanism], ...] = (Dropout, WeightDecay, Perturbation, UnitReplacement)
P = TypeVar("P", bound=Part)


@dataclass(frozen=True)
class Learner:
    """One learner: the keys of its YAML, from which it makes its parts. The parts document their keys.

    optimizer, normalization: a built-in kind, or a name in `others`. others: the parts whose keys have a group of their
    own (learner.redo.threshold), by the name of the group; in a YAML, a group with a `_target_`.
    Raises ConfigError on a bad value.
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
    optimizer_state: str | None = None
    others: dict[str, Any] = field(default_factory=dict)

    kind: ClassVar[str] = "learner"
    groups: ClassVar[str] = "others"  # the field that takes named groups of keys (training.job.build)

    def __post_init__(self) -> None:
        if not 0 < self.step_size < float("inf"):
            raise ConfigError(f"learner.step_size must be a positive number, got {self.step_size}")
        used = {self.optimizer, self.normalization}
        for name, part in self.others.items():
            if not isinstance(part, Mechanism | Optimizer | Normalization):
                base = "a Mechanism, an Optimizer or a Normalization of cbp_experiments.learners"
                raise ConfigError(f"learner.{name}: {type(part).__name__} is not {base}")
            if not isinstance(part, Mechanism) and name not in used:
                kind = "optimizer" if isinstance(part, Optimizer) else "normalization"
                raise ConfigError(f"learner.{name} is not used; set learner.{kind}={name}")
        list(self._all())
        if self.step_size * self.weight_decay >= 1:
            raise ConfigError(
                "learner.step_size x learner.weight_decay must be below 1 (an update shrinks the weights by it), "
                f"got {self.step_size} x {self.weight_decay}"
            )
        self._refuse_keys_of_other_optimizers()

    @cached_property
    def chosen_optimizer(self) -> Optimizer:
        return self._chosen("optimizer", self.optimizer, OPTIMIZERS, Optimizer)

    @cached_property
    def chosen_normalization(self) -> Normalization | None:
        if self.normalization == "none":
            return None
        return self._chosen("normalization", self.normalization, NORMALIZATIONS, Normalization, "none")

    @cached_property
    def mechanisms(self) -> tuple[Mechanism, ...]:
        """The mechanisms that are on, in the order in which they act: the paper's, then those in `others` by name.

        Not as they were listed: the name of a run does not tell that order.
        """
        own = [self._part(kind) for kind in MECHANISMS]
        others = [part for _, part in sorted(self.others.items()) if isinstance(part, Mechanism)]
        return (*(part for part in own if part.on), *others)

    @property
    def parts(self) -> Iterator[tuple[str, Part]]:
        """The parts in use, each with the prefix of its keys ("learner." or "learner.redo.")."""
        named = {id(part): f"learner.{name}." for name, part in self.others.items()}
        for part in (self.chosen_optimizer, self.chosen_normalization, *self.mechanisms):
            if part is not None:
                yield named.get(id(part), "learner."), part

    def _all(self) -> Iterator[Part]:
        """Make every part whose keys are here, in use or not; this checks their values."""
        yield self.chosen_optimizer
        yield from (self._part(kind) for kind in (*OPTIMIZERS.values(), *NORMALIZATIONS.values(), *MECHANISMS))
        if self.chosen_normalization:
            yield self.chosen_normalization

    def _chosen(self, key: str, name: str, kinds: Mapping[str, type[P]], base: type[P], *more: str) -> P:
        if name in kinds:
            return self._part(kinds[name])
        part = self.others.get(name)
        if not isinstance(part, base):
            known = [*more, *kinds, *(n for n, other in self.others.items() if isinstance(other, base))]
            raise ConfigError(f"learner.{key} must be one of {', '.join(known)}, got {name!r}")
        return part

    def _part(self, kind: type[P]) -> P:
        """Make a part from its keys here."""
        try:
            return kind(**{key.name: getattr(self, key.name) for key in fields(kind)})
        except ConfigError as error:
            raise ConfigError(f"learner.{error}") from error

    def _refuse_keys_of_other_optimizers(self) -> None:
        """Raise ConfigError if keys of other optimizers are set, because they would do nothing."""
        own = {key.name for key in fields(OPTIMIZERS[self.optimizer])} if self.optimizer in OPTIMIZERS else set()
        neutral = {key.name: key.default for key in fields(self)}
        for optimizer, kind in OPTIMIZERS.items():
            for name in (key.name for key in fields(kind)):
                if name not in own and getattr(self, name) != neutral[name]:
                    raise ConfigError(
                        f"learner.{name} belongs to learner.optimizer={optimizer}, and it is {self.optimizer}; "
                        f"set learner.{name}={neutral[name]}"
                    )
