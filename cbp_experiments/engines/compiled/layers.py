"""Shared by all optimizers: a layer's matrix of weights, the step that it passes back, layers without normalization."""

from typing import Any

import numpy as np

from cbp_experiments.compiling import inlined
from cbp_experiments.engines.compiled.hooks import normalize, turn_step
from cbp_experiments.engines.compiled.structures import Network, RunArrays, Scratch

Nothing = type(None)


@inlined
def matrix(network: Network, layer: int) -> np.ndarray:
    """The padded weights of a layer, `[in, out]`."""
    return as_matrix(network, network.weights, layer)


@inlined
def as_matrix(network: Network, kept: np.ndarray, layer: int) -> np.ndarray:
    """View `kept`, values for each weight, as a matrix `[in, out]` of a layer."""
    rows, columns = network.strides[layer], network.strides[layer + 1]
    start = network.starts[layer]
    return kept[start : start + rows * columns].reshape(rows, columns)


@inlined
def pass_back(network: Network, scratch: Scratch, layer: int, factor: Any) -> None:
    """Compute the step of a hidden layer from what came back to its active units: `factor` x back x slope."""
    below, slope, back, rows = scratch.step[layer], scratch.slope[layer], scratch.back, scratch.rows[layer]
    for i in range(network.sizes[layer]):
        below[i] = 0
    for q in range(scratch.active[layer]):
        below[rows[q]] = factor * back[q] * slope[rows[q]]


@normalize.of(Nothing)
@inlined
def add_biases(normalization: None, run: RunArrays, layer: int) -> None:
    network, h, bias = run.network, run.scratch.h[layer + 1], run.network.biases[layer]
    scale = network.weights.dtype.type(network.scale[0])
    for j in range(network.strides[layer + 1]):
        h[j] = scale * h[j] + bias[j]


@turn_step.of(Nothing)
@inlined
def same_step(normalization: None, run: RunArrays, layer: int) -> None:
    step, shift = run.scratch.step[layer + 1], run.scratch.shift
    for j in range(run.network.strides[layer + 1]):
        shift[j] = step[j]
