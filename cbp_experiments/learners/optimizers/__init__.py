"""Optimizers, by the names that `learner.optimizer` takes."""

from cbp_experiments.learners.optimizers.adam import Adam, AdamW
from cbp_experiments.learners.optimizers.base import Optimizer, Updater
from cbp_experiments.learners.optimizers.sgd import SGD

__all__ = ["OPTIMIZERS", "SGD", "Adam", "AdamW", "Optimizer", "Updater"]

OPTIMIZERS: dict[str, type[Optimizer]] = {"sgd": SGD, "adam": Adam, "adamw": AdamW}
