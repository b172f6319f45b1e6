"""Activation functions of hidden layers, by the names that `network.activation` takes."""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import torch
from hydra.utils import get_object
from torch import Tensor
from torch.nn import functional as F

from cbp_experiments.errors import ConfigError


class Activation(NamedTuple):
    """An activation function, `[R, B, n] -> [R, B, n]`.

    gain: for the initial weights (torch.nn.init.calculate_gain). halves: it makes two activations of each unit and
    returns all first ones, then all second ones: `[R, B, 2 n]`.
    """

    function: Callable[[Tensor], Tensor]
    gain: float = 1.0
    halves: bool = False


def crelu(z: Tensor) -> Tensor:
    """Concatenated ReLU (Shang et al. 2016; Abbas et al. 2023): ReLU(z) and ReLU(-z)."""
    return torch.cat([torch.relu(z), torch.relu(-z)], dim=2)


# ELU and swish, which calculate_gain does not know, use ReLU's gain.
ACTIVATIONS = {
    "relu": Activation(torch.relu, 2**0.5),
    "leaky_relu": Activation(F.leaky_relu, (2 / (1 + 0.01**2)) ** 0.5),
    "elu": Activation(F.elu, 2**0.5),
    "swish": Activation(F.silu, 2**0.5),
    "tanh": Activation(torch.tanh, 5 / 3),
    "sigmoid": Activation(torch.sigmoid),
    "crelu": Activation(crelu, 2**0.5, halves=True),
}


@cache
def activation(name: str) -> Activation:
    """Return one of ACTIVATIONS, or the user's own function or Activation, named as package.module.name.

    Raises ConfigError if there is none, or if it cannot be used.
    """
    if name in ACTIVATIONS:
        return ACTIVATIONS[name]
    if "." not in name:
        known = f"{', '.join(ACTIVATIONS)}, or your own as package.module.function"
        raise ConfigError(f"network.activation must be one of {known}, got {name!r}")
    try:
        found = get_object(name)
        made = found if isinstance(found, Activation) else Activation(found)
        shape = made.function(torch.zeros(2, 3, 4)).shape
    except Exception as error:  # importing and calling it may raise anything
        problem = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(f"network.activation={name} cannot be used: {problem}") from error
    if shape != (2, 3, 8 if made.halves else 4):
        raise ConfigError(f"network.activation={name} must give as many numbers as it takes: [R, B, n] of [R, B, n]")
    return made
