"""Stochastic gradient descent compiled: the rows of the active inputs, and a scale in place of weight decay.

Memory holds w, the true weights divided by `network.scale`; the decay shrinks only the scale. The update true - x step
becomes w - x step / (scale shrink).
"""

from typing import Any, NamedTuple

import numpy as np

from cbp_experiments.compiling import inlined
from cbp_experiments.engines.compiled.hooks import (
    before_rescaling,
    end_step,
    settle,
    step_factor,
    sum_magnitudes,
    update_gains,
    update_layer,
    update_rows_of,
    update_vector,
)
from cbp_experiments.engines.compiled.layers import pass_back
from cbp_experiments.engines.compiled.structures import Network, Parts, RunArrays
from cbp_experiments.learners import Learner, optimizers

SMALLEST_SCALE = 1e-3


class SGDArrays(NamedTuple):
    step_size: Any  # of the weights' dtype
    shrink: float  # 1 - step size x weight decay

    def begin_task(self, key: int) -> None:
        pass

    def state(self, within_task: bool) -> dict[str, np.ndarray]:
        return {}


def build(sgd: optimizers.SGD, learner: Learner, network: Network) -> SGDArrays:
    return SGDArrays(network.weights.dtype.type(learner.step_size), 1 - learner.step_size * learner.weight_decay)


@step_factor.of(SGDArrays)
@inlined
def step_size(sgd: SGDArrays, run: RunArrays) -> Any:
    return sgd.step_size


@update_layer.of(SGDArrays)
@inlined
def update_active_rows(sgd: SGDArrays, run: RunArrays, parts: Parts, layer: int) -> None:
    network, scratch = run.network, run.scratch
    step, number = scratch.step[layer + 1], scratch.step.dtype.type
    per_scale = number(1 / (network.scale[0] * sgd.shrink))
    subtract(sgd, run, network.biases, None, scratch.shift, layer)
    update_gains(parts.normalization, run, sgd, layer)
    for j in range(network.strides[layer + 1]):
        step[j] *= per_scale
    update_rows_of(parts.magnitudes, run, layer)
    if layer > 0:
        pass_back(network, scratch, layer, number(network.scale[0] ** 2 * sgd.shrink))


@update_vector.of(SGDArrays)
@inlined
def subtract(sgd: SGDArrays, run: RunArrays, values: np.ndarray, moments: Any, step: np.ndarray, layer: int) -> None:
    row, kept = values[layer], values.dtype.type(sgd.shrink)
    for j in range(run.network.strides[layer + 1]):
        row[j] = row[j] * kept - step[j]


@end_step.of(SGDArrays)
@inlined
def decay(sgd: SGDArrays, run: RunArrays, parts: Parts) -> None:
    """Decay all weights without touching them; multiply the scale into them when it has become small."""
    run.network.scale[0] *= sgd.shrink
    if run.network.scale[0] < SMALLEST_SCALE:
        fold_scale(sgd, run, parts)


@settle.of(SGDArrays)
@inlined
def fold_scale(sgd: SGDArrays, run: RunArrays, parts: Parts) -> None:
    network = run.network
    if network.scale[0] != 1:
        scale = network.weights.dtype.type(network.scale[0])
        before_rescaling(parts.mechanisms, run)
        for i in range(len(network.weights)):
            network.weights[i] *= scale
        sum_magnitudes(parts.magnitudes, run)
        network.scale[0] = 1
