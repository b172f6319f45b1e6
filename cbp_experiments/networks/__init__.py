"""Networks: architectures (what a configuration names), and R copies of one side by side."""

from cbp_experiments.networks.base import (
    Architecture,
    ForwardHook,
    Normalizer,
    StackedNetwork,
    Where,
    along_units,
    fill,
)
from cbp_experiments.networks.conv import ConvNet, StackedConvNet
from cbp_experiments.networks.mlp import ACTIVATIONS, GAINS, MLP, StackedMLP

__all__ = [
    "ACTIVATIONS",
    "GAINS",
    "MLP",
    "Architecture",
    "ConvNet",
    "ForwardHook",
    "Normalizer",
    "StackedConvNet",
    "StackedMLP",
    "StackedNetwork",
    "Where",
    "along_units",
    "fill",
]
