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
    scale: np.ndarray  # float64 [1]: the true weights are scale x weights, so that decay need not touch them
    biases: np.ndarray  # float [L, largest stride]
    activation: int


class Examples(NamedTuple):
    """Inputs without their zeros: example e has the values `values[starts[e]:starts[e + 1]]` at `features[...]`."""

    starts: np.ndarray  # int64 [N + 1]
    features: np.ndarray  # int32
    values: np.ndarray  # float
    labels: np.ndarray  # int64 [N]


class Update(NamedTuple):
    """Hyperparameters of SGD and of what acts in the forward pass."""

    step_size: float
    shrink: float  # 1 - step size x weight decay
    dropout: float


class Noise(NamedTuple):
    """The perturbation (noise.py): what each row still owes is `variance - settled[layer, row]`."""

    std: float  # 0: nothing below is touched
    variance: np.ndarray  # float64 [1]: of all draws so far, in units of the weights in memory
    settled: np.ndarray  # float64 [L, largest stride]
    counter: np.ndarray  # uint64 [1]: of the random words
    normals: np.ndarray  # float32 [largest stride of an output]: work space
    bits: np.ndarray  # uint64, half as many


class Adam(NamedTuple):
    """Adam (learners/optimizers.py); its moments lie as the weights and biases do.

    The corrections 1 - beta^t, as moving averages of 1, belong to units and not to weights: a weight is as old as the
    younger of the two units it joins. Row l is layer l's inputs, so that inputs and outputs of the network have rows.
    """

    on: bool
    betas: np.ndarray  # float [4]: beta1, 1 - beta1, beta2, 1 - beta2
    constants: np.ndarray  # float [3]: epsilon, weight decay, the smallest moment that is kept
    first: np.ndarray
    second: np.ndarray
    first_bias: np.ndarray  # float [L, largest stride]
    second_bias: np.ndarray
    correction1: np.ndarray  # float [L + 1, largest stride]
    correction2: np.ndarray
    inverse1: np.ndarray  # float [largest stride]: work space, like the rest
    inverse2: np.ndarray
    x: np.ndarray
    back: np.ndarray


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
    replaced: np.ndarray  # int64 [1]: units replaced so far


class Scratch(NamedTuple):
    """Work space of one run, by layer: activations and slopes, steps (step size x gradient), and the active inputs."""

    h: np.ndarray  # float [L + 1, largest stride]
    slope: np.ndarray
    step: np.ndarray
    rows: np.ndarray  # int64 [L, largest stride]: inputs that are not 0
    x: np.ndarray  # float, their values
    active: np.ndarray  # int64 [L], how many
    back: np.ndarray  # float [largest stride]
