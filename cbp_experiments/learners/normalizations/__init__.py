"""Normalizations of the hidden layers, by the names that `learner.normalization` takes besides none."""

from cbp_experiments.learners.normalizations.base import Normalization, Normalizer
from cbp_experiments.learners.normalizations.batch import BatchNormalization
from cbp_experiments.learners.normalizations.layer import LayerNormalization
from cbp_experiments.learners.normalizations.online import OnlineNormalization

__all__ = [
    "NORMALIZATIONS",
    "BatchNormalization",
    "LayerNormalization",
    "Normalization",
    "Normalizer",
    "OnlineNormalization",
]

NORMALIZATIONS: dict[str, type[Normalization]] = {
    "batch": BatchNormalization,
    "online": OnlineNormalization,
    "layer": LayerNormalization,
}
