"""Learners: hyperparameters, optimizers and the mechanisms around them."""

from hydra.utils import instantiate

from cbp_experiments.learners.base import Learner, Mechanism
from cbp_experiments.learners.decay import WeightDecay
from cbp_experiments.learners.dropout import Dropout
from cbp_experiments.learners.normalization import KINDS
from cbp_experiments.learners.optimizers import SGD, Adam
from cbp_experiments.learners.perturbation import Perturbation
from cbp_experiments.learners.replacement import UnitReplacement
from cbp_experiments.learners.step import Step
from cbp_experiments.networks import StackedNetwork

__all__ = ["Learner", "Mechanism", "Perturbation", "Step", "UnitReplacement", "build_step"]


def build_step(learner: Learner, network: StackedNetwork, bounds: list[float]) -> Step:
    """The learner's training step on a network whose weights were drawn from +-`bounds[l]`."""
    if learner.normalization != "none":  # before the optimizer, which takes its gains for parameters
        network.normalization = KINDS[learner.normalization](learner, network.biases[:-1])
    optimizer = SGD(learner, network.parameters) if learner.optimizer == "sgd" else Adam(learner, network.parameters)
    mechanisms: list[Mechanism] = []
    if learner.dropout:
        mechanisms.append(Dropout(learner.dropout))
    if learner.weight_decay:
        mechanisms.append(WeightDecay(learner.weight_decay))
    if learner.perturbation_std:
        mechanisms.append(Perturbation(learner.perturbation_std))
    if learner.replacement_rate:
        mechanisms.append(UnitReplacement(learner, bounds))
    mechanisms += [instantiate(node) for node in (learner.mechanisms or {}).values()]
    return Step(network, optimizer, mechanisms)
