"""The arrays of one run that the compiled functions of the online engine work on."""

from typing import NamedTuple

import numpy as np

# What the kernel can compute, by name, and the numbers that it goes by.
ACTIVATIONS = ("relu", "leaky_relu", "elu", "swish", "tanh", "sigmoid")
RELU, LEAKY_RELU, ELU, SWISH, TANH, SIGMOID = range(len(ACTIVATIONS))
UTILITIES = ("adaptable_contribution", "contribution", "adaptation", "weight", "random")
ADAPTABLE_CONTRIBUTION, CONTRIBUTION, ADAPTATION, WEIGHT, RANDOM = range(len(UTILITIES))


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
    labels: np.ndarray  # int64 [N]; or targets, float [N, outputs]


class Update(NamedTuple):
    """Hyperparameters of SGD and of what acts in the forward pass."""

    step_size: float
    shrink: float  # 1 - step size x weight decay
    dropout: float


class Normalization(NamedTuple):
    """Online normalization (learners/normalization.py); hidden layer l has row l of `[hidden layers, largest stride]`.

    SGD's errors are those of steps, step size x gradient, as all that is passed back; Adam's are of gradients.
    """

    on: bool  # False: nothing below is touched
    reset: bool  # a replaced unit's normalization is new
    decay: np.ndarray  # float [3]: a, 1 - a, a (1 - a) of the statistics
    constants: np.ndarray  # float [2]: 1 - alpha_b, epsilon
    gain: np.ndarray  # float, like the rest
    mean: np.ndarray
    variance: np.ndarray
    error_y: np.ndarray
    error_1: np.ndarray
    first: np.ndarray  # Adam's moments of the gain, as below
    root: np.ndarray
    y: np.ndarray  # work space: the normalized sums of the last pass, and one over their standard deviations
    inverse: np.ndarray
    shift_step: np.ndarray  # float [largest stride]: steps of a layer's biases
    gain_step: np.ndarray  # and of its gains


class Noise(NamedTuple):
    """The perturbation (noise.py): what each row still owes is `variance - settled[layer, row]`."""

    std: float  # 0: nothing below is touched
    variance: np.ndarray  # float64 [1]: of all draws so far, in units of the weights in memory
    settled: np.ndarray  # float64 [L, largest stride]
    generators: np.ndarray  # uint32 (normals.new_generators)
    normals: np.ndarray  # float32: work space, for one row at least


class Adam(NamedTuple):
    """Adam (learners/optimizers.py); its moments lie as the weights and biases do.

    The corrections 1 - beta^t, as moving averages of 1, belong to units and not to weights: a weight is as old as the
    younger of the two units it joins. Row l is layer l's inputs, so that inputs and outputs of the network have rows.
    Without replacement all weights are as old as the network: `[1, 1]` corrections, and the rest of the inverses is 0.
    """

    on: bool
    eager: bool  # rows whose input is 0 are updated at once, until they have faded
    fade: int  # updates without gradient after which a row has come to rest (adam.updates_to_fade)
    betas: np.ndarray  # float [4]: beta1, 1 - beta1, beta2, 1 - beta2
    constants: np.ndarray  # float [3]: epsilon, weight decay, the smallest moment that is kept
    paired: bool  # all weights are equally old, and epsilon^2 is a float: two rows share a division
    powers: np.ndarray  # float [2, the most updates of a call + 1]: beta1^k, beta2^k (adam.powers)
    first: np.ndarray
    root: np.ndarray  # of the second moment
    first_bias: np.ndarray  # float [L, largest stride]
    root_bias: np.ndarray
    correction1: np.ndarray  # float [L + 1, largest stride]
    correction2: np.ndarray
    inverse1: np.ndarray  # float [L + 1, largest stride]: 1 / (1 - beta1^t)
    inverse2: np.ndarray  # likewise, 1 / sqrt(1 - beta2^t)
    updates: np.ndarray  # int64 [1]: since all rows were up to date
    last: np.ndarray  # int64 [L, largest stride]: the last of these in which a row's input was not 0
    rates: np.ndarray  # float [the most updates of a call]: step size / (1 - beta1^t) of the oldest weights
    bends: np.ndarray  # likewise, 1 / sqrt(1 - beta2^t)
    sums: np.ndarray  # float64 [5, the most updates of a call] (adam.sum_steps), or [5, 0] where they would not do
    ages: np.ndarray  # float64 [2, fade] (adam.ages)
    parts: np.ndarray  # float64 [fade]: work space
    negligible: float  # half of the dtype's epsilon, less the rounding of sums
    moved: np.ndarray  # float [largest stride]: work space


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
    outgoing: np.ndarray  # likewise, over the outputs of each input of layer l > 0
    replaced: np.ndarray  # int64 [1]: units replaced so far


class Draws(NamedTuple):
    """What the run draws at an update (draws.py): keys of the task and the update, and of each purpose by layer."""

    task: np.ndarray  # uint64 [1]
    now: np.ndarray  # uint64 [1]
    dropout: np.ndarray  # uint64 [hidden layers], like the rest
    ranking: np.ndarray
    replacement: np.ndarray
    given: np.ndarray  # float64: uniform numbers for fresh weights to take in place of drawn ones; empty but in tests
    taken: np.ndarray  # int64 [1], how many


class Scratch(NamedTuple):
    """Work space of one run, by layer: activations and slopes, steps (step size x gradient), and the active inputs."""

    h: np.ndarray  # float [L + 1, largest stride]
    slope: np.ndarray
    step: np.ndarray
    rows: np.ndarray  # int64 [L, largest stride]: inputs that are not 0
    x: np.ndarray  # float, their values
    active: np.ndarray  # int64 [L], how many
    back: np.ndarray  # float [largest stride]
