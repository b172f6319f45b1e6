"""Networks: architectures, which a configuration names, and R copies of one side by side."""

from cbp_experiments.networks.activations import ACTIVATIONS, Activation, activation
from cbp_experiments.networks.base import Architecture, ForwardHook, Normalizer, StackedNetwork
from cbp_experiments.networks.conv import ConvNet, StackedConvNet
from cbp_experiments.networks.mlp import MLP, StackedMLP
from cbp_experiments.networks.units import Units, Where, along_units, fill, put

__all__ = [
    "ACTIVATIONS",
    "MLP",
    "Activation",
    "Architecture",
    "ConvNet",
    "ForwardHook",
    "Normalizer",
    "StackedConvNet",
    "StackedMLP",
    "StackedNetwork",
    "Units",
    "Where",
    "activation",
    "along_units",
    "fill",
    "put",
]
