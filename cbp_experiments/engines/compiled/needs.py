"""What the parts of a learner need from each other, by the table in engines/abilities.py."""

from cbp_experiments.engines.abilities import HALVES
from cbp_experiments.learners import Learner
from cbp_experiments.learners.optimizers import SGD


def all_weights_at_every_update(learner: Learner) -> bool:
    """Whether no row may wait until it is read: a mechanism uses them all, or Adam's gradient contains the decay."""
    decays = bool(learner.weight_decay) and not isinstance(learner.chosen_optimizer, SGD)
    return decays or any(HALVES[type(part)].all_weights for part in learner.mechanisms)


def resets_units(learner: Learner) -> bool:
    return any(HALVES[type(part)].resets_units for part in learner.mechanisms)


def uses_magnitudes(learner: Learner) -> bool:
    return any(HALVES[type(part)].magnitudes for part in learner.mechanisms)


def keeps_magnitudes(learner: Learner) -> bool:
    """Whether the optimizer can keep the sums of |w| up to date: SGD, if nothing else changes weights."""
    return isinstance(learner.chosen_optimizer, SGD) and not any(
        HALVES[type(part)].changes_weights for part in learner.mechanisms
    )
