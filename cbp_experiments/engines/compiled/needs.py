"""What the parts of a learner need from each other."""

from cbp_experiments.learners import Learner, UnitReplacement
from cbp_experiments.learners.optimizers import SGD


def all_weights_at_every_update(learner: Learner) -> bool:
    """Whether no row may wait until it is read: utilities use all weights, and Adam's gradient contains the decay."""
    return replaces_units(learner) or (bool(learner.weight_decay) and not isinstance(learner.chosen_optimizer, SGD))


def replaces_units(learner: Learner) -> bool:
    return any(isinstance(part, UnitReplacement) for part in learner.mechanisms)
