"""The arrays of one run that the compiled functions of the online engine work on."""

from typing import NamedTuple

import numpy as np

RELU, LEAKY_RELU, ELU, SWISH, TANH, SIGMOID = range(6)
ADAPTABLE_CONTRIBUTION, CONTRIBUTION, ADAPTATION, WEIGHT, RANDOM = range(5)


class Network(NamedTuple):
    """L layers; layer l maps `sizes[l]` to `sizes[l + 1]` units, its weights lie at `weights[starts[l]:]`."""

    sizes: np.ndarray  # int64 [L + 1], units
    strides: np.ndarray  # int64 [L + 1], units padded to whole vector registers
    starts: np.ndarray  # int64 [L]
    weights: np.ndarray  # float [sum of strides[l] * strides[l + 1]]
    biases: np.ndarray  # float [L, largest stride]
    activation: int


class Examples(NamedTuple):
    """Inputs without their zeros: example e has the values `values[starts[e]:starts[e + 1]]` at `features[...]`."""

    starts: np.ndarray  # int64 [N + 1]
    features: np.ndarray  # int32
    values: np.ndarray  # float
    labels: np.ndarray  # int64 [N]


class Replacement(NamedTuple):
    """Unit replacement (learners/replacement.py): hyperparameters, and the state of hidden layer l in row l."""

    rate: float  # 0: the learner replaces nothing, and nothing below is touched
    maturity_threshold: int
    utility_kind: int
    decay: np.ndarray  # float [2]: eta, 1 - eta
    bounds: np.ndarray  # float64 [L]
    utility: np.ndarray  # float [hidden layers, largest stride]
    mean_activation: np.ndarray
    correction: np.ndarray  # 1 - eta^age, as the moving average of 1
    age: np.ndarray  # int64, likewise
    to_replace: np.ndarray  # float64 [hidden layers]
    incoming: np.ndarray  # float [L, largest stride]: sum of |w| over the inputs of each unit of layer l
    outgoing: np.ndarray  # float [L, largest stride]: sum of |w| over the outputs of each input of layer l


class Scratch(NamedTuple):
    """Work space of one run, by layer: activations and slopes, steps (step size x gradient), and the active inputs."""

    h: np.ndarray  # float [L + 1, largest stride]
    slope: np.ndarray
    step: np.ndarray
    rows: np.ndarray  # int64 [L, largest stride]: inputs that are not 0
    x: np.ndarray  # float, their values
    active: np.ndarray  # int64 [L], how many
    back: np.ndarray  # float [largest stride]
