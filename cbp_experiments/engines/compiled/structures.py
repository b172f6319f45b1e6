"""The arrays of one run on which the online engine's compiled functions work. A part's arrays are in its own file."""

from typing import Any, NamedTuple, Protocol

import numpy as np

# What the kernel can compute, by name, and the numbers that stand for it.
ACTIVATIONS = ("relu", "leaky_relu", "elu", "swish", "tanh", "sigmoid")
RELU, LEAKY_RELU, ELU, SWISH, TANH, SIGMOID = range(len(ACTIVATIONS))
UTILITIES = ("adaptable_contribution", "contribution", "adaptation", "weight", "random")
ADAPTABLE_CONTRIBUTION, CONTRIBUTION, ADAPTATION, WEIGHT, RANDOM = range(len(UTILITIES))

RESUM_EVERY = 1000  # updates between fresh sums of |w|: bounds the rounding of running sums
SMALLEST = 1e-30  # smaller moments, statistics and errors are set to 0: they move nothing, and denormals are slow
CHUNK = 10 * RESUM_EVERY  # updates after which all work that the kernel defers is settled


class Network(NamedTuple):
    """L layers; layer l maps `sizes[l]` to `sizes[l + 1]` units, and its weights begin at `weights[starts[l]]`."""

    sizes: np.ndarray  # int64 [L + 1], units
    strides: np.ndarray  # int64 [L + 1], units padded to whole vector registers
    starts: np.ndarray  # int64 [L]
    weights: np.ndarray  # float [sum of strides[l] * strides[l + 1]]
    scale: np.ndarray  # float64 [1]: the true weights are scale x weights, so that decay does not touch them
    biases: np.ndarray  # float [L, largest stride]
    gains: np.ndarray  # float [L - 1, largest stride] of a normalization, or no rows
    bounds: np.ndarray  # float64 [L]: weights of a new unit are drawn from +-bounds[l]
    activation: int


class Scratch(NamedTuple):
    """Work space, by layer: activations and slopes, steps (step size x gradient), and the active inputs."""

    h: np.ndarray  # float [L + 1, largest stride]
    slope: np.ndarray
    step: np.ndarray
    rows: np.ndarray  # int64 [L, largest stride]: inputs that are not 0
    x: np.ndarray  # float, their values
    active: np.ndarray  # int64 [L], how many
    back: np.ndarray  # float [largest stride]: what is passed back to the active inputs
    shift: np.ndarray  # float [largest stride]: the step of a layer's biases


class DrawKeys(NamedTuple):
    """The keys of the task and the update, from which the run draws (draws.py)."""

    task: np.ndarray  # uint64 [1]
    now: np.ndarray  # uint64 [1]
    given: np.ndarray  # float64: uniform numbers for fresh weights instead of drawn ones; empty except in tests
    taken: np.ndarray  # int64 [1]: how many of them are used


class RunArrays(NamedTuple):
    """The arrays that every learner has."""

    network: Network
    scratch: Scratch
    draws: DrawKeys


class Parts(NamedTuple):
    """The arrays of this learner's parts. The kernel is compiled for their types, without what the learner lacks."""

    optimizer: Any
    normalization: Any  # or None
    magnitudes: Any  # sums of |w| (magnitudes.py), or None if no mechanism needs them
    mechanisms: tuple[Any, ...]
    waiting: bool  # a part lets rows that are not read wait (hooks.before_reading)


class SparseExamples(NamedTuple):
    """Inputs without their zeros: example e has the values `values[starts[e]:starts[e + 1]]` at `features[...]`."""

    starts: np.ndarray  # int64 [N + 1]
    features: np.ndarray  # int32
    values: np.ndarray  # float
    labels: np.ndarray  # int64 [N]; or targets, float [N, outputs]


class TaskArrays(NamedTuple):
    """What a task presents, and what the kernel records."""

    order: np.ndarray  # int64 [T]: examples
    position: np.ndarray  # int64 [inputs]: feature i is the network's input position[i]
    losses: np.ndarray  # float64 [T]
    hits: np.ndarray  # bool [T]
    events: np.ndarray  # int64 [events, 3]: replacements (t, layer, unit), as far as there is room


class PartArrays(Protocol):
    """Interface of a part's arrays to the online engine, in Python."""

    def begin_task(self, key: int) -> None:
        """Called before a task's first update; everything drawn in the task starts from `key`."""

    def state(self, within_task: bool) -> dict[str, np.ndarray]:
        """Return what lasts from one update to the next. within_task: also what the end of a task settles."""
