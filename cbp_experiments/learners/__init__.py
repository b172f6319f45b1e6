"""Learners: hyperparameters, optimizers and the mechanisms around them."""

from typing import Any

from hydra.utils import instantiate

from cbp_experiments.errors import ConfigError
from cbp_experiments.learners.base import NORMALIZATIONS, Learner, Mechanism
from cbp_experiments.learners.decay import WeightDecay
from cbp_experiments.learners.dropout import Dropout
from cbp_experiments.learners.normalization import KINDS
from cbp_experiments.learners.optimizers import OPTIMIZERS
from cbp_experiments.learners.perturbation import Perturbation
from cbp_experiments.learners.replacement import UnitReplacement
from cbp_experiments.learners.step import Step
from cbp_experiments.learners.utilities import UTILITIES
from cbp_experiments.networks import StackedNetwork

__all__ = [
    "NORMALIZATIONS",
    "OPTIMIZERS",
    "UTILITIES",
    "Learner",
    "Mechanism",
    "Perturbation",
    "Step",
    "UnitReplacement",
    "build_step",
    "own_mechanisms",
]


def build_step(learner: Learner, network: StackedNetwork, bounds: list[float]) -> Step:
    """The learner's training step on a network whose weights were drawn from +-`bounds[l]`."""
    if learner.normalization != "none":  # before the optimizer, which takes its gains for parameters
        network.normalization = KINDS[learner.normalization](learner, network.biases[:-1])
    optimizer = OPTIMIZERS[learner.optimizer](learner, network.parameters)
    mechanisms: list[Mechanism] = []
    if learner.dropout:
        mechanisms.append(Dropout(learner.dropout))
    if learner.weight_decay:
        mechanisms.append(WeightDecay(learner.weight_decay))
    if learner.perturbation_std:
        mechanisms.append(Perturbation(learner.perturbation_std))
    if learner.replacement_rate:
        mechanisms.append(UnitReplacement(learner, bounds))
    return Step(network, optimizer, mechanisms + own_mechanisms(learner))


def own_mechanisms(learner: Learner) -> list[Mechanism]:
    """Those of the user's own, `learner.mechanisms`. Raises ConfigError."""
    return [_of_ones_own(name, node) for name, node in (learner.mechanisms or {}).items()]


def _of_ones_own(name: str, node: Any) -> Mechanism:
    """What a configuration names. Raises ConfigError unless it is a Mechanism; Hydra's errors are left to the entry."""
    if not isinstance(node, dict) or not isinstance(node.get("_target_"), str):
        raise ConfigError(f"learner.mechanisms.{name} needs a _target_, the class: package.module.Class")
    mechanism = instantiate(node)
    if not isinstance(mechanism, Mechanism):
        base = "cbp_experiments.learners.Mechanism"
        raise ConfigError(f"learner.mechanisms.{name}: {node['_target_']} is no {base}; derive it from that")
    return mechanism
