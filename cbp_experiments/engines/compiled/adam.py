"""Adam compiled: learners/optimizers.py for one run at mini-batch 1. Every weight moves at every update."""

from typing import Any

import numpy as np

from cbp_experiments.engines.compiled.compiling import inlined, jit
from cbp_experiments.engines.compiled.layers import matrix, pass_back
from cbp_experiments.engines.compiled.structures import Adam, Network, Scratch, Update

SMALLEST = 1e-30  # smaller moments are set to 0: they move nothing, and denormal numbers are slow


@inlined
def age_corrections(adam: Adam) -> None:
    """1 - beta^t of every unit, one update later."""
    for layer in range(adam.correction1.shape[0]):
        for i in range(adam.correction1.shape[1]):
            adam.correction1[layer, i] = adam.betas[0] * adam.correction1[layer, i] + adam.betas[1]
            adam.correction2[layer, i] = adam.betas[2] * adam.correction2[layer, i] + adam.betas[3]


@inlined
def update_layer_adam(network: Network, update: Update, adam: Adam, scratch: Scratch, layer: int) -> None:
    """Adam on a layer by the gradient of its outputs; leaves that of its inputs in `scratch.step[layer]`."""
    gradient, start = scratch.step[layer + 1], network.starts[layer]
    one = scratch.step.dtype.type(1)
    for j in range(adam.correction1.shape[1]):
        adam.inverse1[j] = 1 / adam.correction1[layer + 1, j]
        adam.inverse2[j] = 1 / np.sqrt(adam.correction2[layer + 1, j])
    for i in range(network.sizes[layer]):
        adam.x[i] = 0
    for q in range(scratch.active[layer]):
        adam.x[scratch.rows[layer, q]] = scratch.x[layer, q]
    w = matrix(network, layer)
    size = w.shape[0] * w.shape[1]
    first = adam.first[start : start + size].reshape(w.shape)
    second = adam.second[start : start + size].reshape(w.shape)
    for i in range(network.sizes[layer]):
        oldest1, oldest2 = one / adam.correction1[layer, i], one / np.sqrt(adam.correction2[layer, i])
        adam.back[i] = adam_row(w, first, second, i, adam.x[i], gradient, oldest1, oldest2, adam, update.step_size)
    adam_row(network.biases, adam.first_bias, adam.second_bias, layer, one, gradient, one, one, adam, update.step_size)
    if layer > 0:
        for q in range(scratch.active[layer]):
            scratch.back[q] = adam.back[scratch.rows[layer, q]]
        pass_back(network, scratch, layer, one)


@jit
def adam_row(
    w: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    i: int,
    x: Any,
    gradient: np.ndarray,
    inverse1: Any,
    inverse2: Any,
    adam: Adam,
    step_size: Any,
) -> Any:
    """Update the weights `w[i]` that leave one unit of activation x. Returns w[i] . gradient before the update.

    A weight's count of updates is the smaller of those of its two units, so its inverse correction is the larger.
    """
    beta1, rest1, beta2, rest2 = adam.betas[0], adam.betas[1], adam.betas[2], adam.betas[3]
    epsilon, decay, smallest = adam.constants[0], adam.constants[1], adam.constants[2]
    n, back = w.shape[1], w[0, 0] * 0
    for j in range(n):
        g = x * gradient[j] + decay * w[i, j]
        m = beta1 * first[i, j] + rest1 * g
        v = beta2 * second[i, j] + rest2 * g * g
        first[i, j] = m if abs(m) > smallest else m * 0
        second[i, j] = v if v > smallest else v * 0
    for j in range(n):  # a loop of its own: with more arrays in one, the compiler gives up vectors
        back += w[i, j] * gradient[j]
        bend = np.sqrt(second[i, j]) * max(inverse2, adam.inverse2[j]) + epsilon
        w[i, j] -= step_size * max(inverse1, adam.inverse1[j]) * first[i, j] / bend
    return back
