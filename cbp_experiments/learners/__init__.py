"""Learners: hyperparameters, optimizers and the mechanisms around them."""

from cbp_experiments.learners.base import FORGET, Actor, Mechanism, Part
from cbp_experiments.learners.decay import WeightDecay
from cbp_experiments.learners.dropout import Dropout
from cbp_experiments.learners.learner import Learner
from cbp_experiments.learners.normalizations import NORMALIZATIONS, Normalization, Normalizer
from cbp_experiments.learners.optimizers import OPTIMIZERS, Optimizer, Updater
from cbp_experiments.learners.perturbation import Perturbation
from cbp_experiments.learners.replacement import UnitReplacement
from cbp_experiments.learners.step import Step
from cbp_experiments.learners.utilities import UTILITIES

__all__ = [
    "FORGET",
    "NORMALIZATIONS",
    "OPTIMIZERS",
    "UTILITIES",
    "Actor",
    "Dropout",
    "Learner",
    "Mechanism",
    "Normalization",
    "Normalizer",
    "Optimizer",
    "Part",
    "Perturbation",
    "Step",
    "UnitReplacement",
    "Updater",
    "WeightDecay",
]
