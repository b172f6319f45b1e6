"""Online normalization compiled: learners/normalizations/online.py for one run at mini-batch 1.

There are many short loops, because the compiler does not vectorize loops with more arrays.
"""

from typing import Any, NamedTuple

import numpy as np
import torch

from cbp_experiments.compiling import compiles_in, inlined
from cbp_experiments.engines.compiled.hooks import (
    forget_unit,
    normalize,
    turn_step,
    update_gains,
    update_vector,
)
from cbp_experiments.engines.compiled.layers import add_biases, same_step
from cbp_experiments.engines.compiled.structures import SMALLEST, Network, RunArrays
from cbp_experiments.learners import Learner
from cbp_experiments.learners.normalizations import OnlineNormalization
from cbp_experiments.learners.optimizers import Adam


@compiles_in(1.1)
class NormalizationArrays(NamedTuple):
    """Hyperparameters, statistics and work space. Hidden layer l has row l of `[hidden layers, largest stride]`.

    For SGD, errors are those of steps (step size x gradient), like everything that is passed back; for Adam, of
    gradients.
    """

    decay: np.ndarray  # float [3]: a, 1 - a, a (1 - a) of the statistics
    constants: np.ndarray  # float [2]: 1 - alpha_b, epsilon
    mean: np.ndarray  # float, like the rest
    variance: np.ndarray
    error_y: np.ndarray
    error_1: np.ndarray
    first: np.ndarray  # Adam's moments of the gain, or no rows
    root: np.ndarray
    y: np.ndarray  # work space: the normalized sums of the last pass, and one over their standard deviations
    inverse: np.ndarray
    gain_step: np.ndarray  # float [largest stride]: the step of a layer's gains

    def begin_task(self, key: int) -> None:
        pass

    def state(self, within_task: bool) -> dict[str, np.ndarray]:
        names = ("mean", "variance", "error_y", "error_1", *(("first", "root") if len(self.first) else ()))
        return {f"normalization_{name}": getattr(self, name) for name in names}

    def apply(self, z: torch.Tensor, gains: np.ndarray, layer: int, epsilon: float) -> None:
        """Normalize the weighted sums `z [N, units]` of a hidden layer by the current statistics, in place."""
        kept = (gains, self.mean, self.variance)
        gain, mean, variance = (torch.from_numpy(values[layer, : z.shape[1]]) for values in kept)
        z.sub_(mean).mul_(gain / (variance + epsilon).sqrt())


def build(part: OnlineNormalization, learner: Learner, network: Network) -> NormalizationArrays:
    a, dtype = part.normalization_decay, network.weights.dtype
    layers, widest = len(network.starts) - 1, max(network.strides)

    def full(value: float, rows: int = layers) -> np.ndarray:
        return np.full((rows, widest), value, dtype)

    moments = layers if isinstance(learner.chosen_optimizer, Adam) else 0
    return NormalizationArrays(
        decay=np.array([a, 1 - a, a * (1 - a)], dtype),
        constants=np.array([1 - part.normalization_backward_decay, part.normalization_epsilon], dtype),
        mean=full(0),
        variance=full(1),
        error_y=full(0),
        error_1=full(0),
        first=full(0, moments),
        root=full(0, moments),
        y=full(0),
        inverse=full(0),
        gain_step=np.zeros(widest, dtype),
    )


@normalize.of(NormalizationArrays)
@inlined
def normalize_online(normalization: NormalizationArrays, run: RunArrays, layer: int) -> None:
    """Turn the weighted sums into gain y + bias, and update the statistics."""
    network, x = run.network, run.scratch.h[layer + 1]
    if layer + 1 == len(network.starts):
        add_biases(None, run, layer)
        return
    n, bias, scale = network.strides[layer + 1], network.biases[layer], x.dtype.type(network.scale[0])
    for j in range(n):
        x[j] *= scale
    gain, mean, variance = network.gains[layer], normalization.mean[layer], normalization.variance[layer]
    y, inverse = normalization.y[layer], normalization.inverse[layer]
    kept, fresh, spread = normalization.decay[0], normalization.decay[1], normalization.decay[2]
    number, epsilon = x.dtype.type, normalization.constants[1]
    zero, one, smallest = number(0), number(1), number(SMALLEST)
    for j in range(n):
        inverse[j] = one / np.sqrt(variance[j] + epsilon)
    for j in range(n):
        y[j] = x[j] - mean[j]
    for j in range(n):
        moved = mean[j] + fresh * y[j]
        mean[j] = moved if abs(moved) > smallest else moved * zero
    for j in range(n):
        moved = kept * variance[j] + spread * (y[j] * y[j])
        variance[j] = moved if moved > smallest else moved * zero
    for j in range(n):
        y[j] *= inverse[j]
    for j in range(n):
        x[j] = gain[j] * y[j] + bias[j]


@turn_step.of(NormalizationArrays)
@inlined
def control(normalization: NormalizationArrays, run: RunArrays, layer: int) -> None:
    """Turn the step of gain y + bias into that of the weighted sums; leave the step of the gain in `gain_step`.

    The result is dense: the control moves inactive units, too.
    """
    if layer + 1 == len(run.network.starts):
        same_step(None, run, layer)
        return
    n, step, shift, gain = (
        run.network.strides[layer + 1],
        run.scratch.step[layer + 1],
        run.scratch.shift,
        run.network.gains[layer],
    )
    y, inverse = normalization.y[layer], normalization.inverse[layer]
    error_y, error_1 = normalization.error_y[layer], normalization.error_1[layer]
    number, rate = step.dtype.type, normalization.constants[0]
    zero, smallest = number(0), number(SMALLEST)
    for j in range(n):
        shift[j] = step[j]
    for j in range(n):
        normalization.gain_step[j] = step[j] * y[j]
    for j in range(n):
        step[j] = gain[j] * step[j] - rate * error_y[j] * y[j]
    for j in range(n):
        error = error_y[j] + step[j] * y[j]
        error_y[j] = error if abs(error) > smallest else error * zero
    for j in range(n):
        step[j] = step[j] * inverse[j] - rate * error_1[j]
    for j in range(n):
        error = error_1[j] + step[j]
        error_1[j] = error if abs(error) > smallest else error * zero


@update_gains.of(NormalizationArrays)
@inlined
def update_gain(normalization: NormalizationArrays, run: RunArrays, optimizer: Any, layer: int) -> None:
    if layer + 1 < len(run.network.starts):
        moments = (normalization.first, normalization.root)
        update_vector(optimizer, run, run.network.gains, moments, normalization.gain_step, layer)


@forget_unit.of(NormalizationArrays)
@inlined
def forget_statistics(normalization: NormalizationArrays, run: RunArrays, layer: int, unit: int) -> None:
    """Reset a unit's gain, statistics, errors and moments to their initial values."""
    run.network.gains[layer, unit] = 1
    normalization.mean[layer, unit] = 0
    normalization.variance[layer, unit] = 1
    normalization.error_y[layer, unit] = 0
    normalization.error_1[layer, unit] = 0
    if len(normalization.first) > 0:
        normalization.first[layer, unit] = 0
        normalization.root[layer, unit] = 0
