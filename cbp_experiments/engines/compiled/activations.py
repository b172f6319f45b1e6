"""Activations of a hidden layer, which of them the next layer has to read, and dropout."""

from typing import Any

import numpy as np

from cbp_experiments.compiling import inlined, jit
from cbp_experiments.engines.compiled.draws import u64, uniform_bits
from cbp_experiments.engines.compiled.structures import ELU, LEAKY_RELU, RELU, SWISH, TANH, Draws, Network, Scratch


@inlined
def activate(network: Network, scratch: Scratch, layer: int) -> None:
    """Turn the sums in `scratch.h[layer]` into activations; list those that the next layer has to read."""
    h, slope = scratch.h[layer], scratch.slope[layer]
    n, zero = network.sizes[layer], h.dtype.type(0)
    if network.activation == RELU:
        for i in range(n):
            h[i] = h[i] if h[i] > 0 else h[i] * zero  # a not-a-number stays one
            slope[i] = 1  # of the active units, and nobody asks for the others
    else:
        for i in range(n):
            h[i], slope[i] = activation_and_slope(network.activation, h[i])
    list_active(network, scratch, layer)


@inlined
def drop(network: Network, scratch: Scratch, layer: int, dropout: float, draws: Draws) -> None:
    """Dropout (learners/dropout.py) of a hidden layer's activations."""
    h, slope = scratch.h[layer], scratch.slope[layer]
    n, zero, scale = network.sizes[layer], h.dtype.type(0), h.dtype.type(1 / (1 - dropout))
    purpose, least = draws.dropout[layer - 1], u64(np.ceil(dropout * 2.0**53))
    for i in range(n):
        kept = scale if uniform_bits(draws, purpose, i) >= least else zero
        h[i] *= kept
        slope[i] *= kept
    list_active(network, scratch, layer)


@inlined
def list_active(network: Network, scratch: Scratch, layer: int) -> None:
    """List the units of a hidden layer that the next layer has to read."""
    h, slope, rows, x = scratch.h[layer], scratch.slope[layer], scratch.rows[layer], scratch.x[layer]
    count = 0
    if network.activation == RELU:
        for i in range(network.sizes[layer]):
            value = h[i]
            rows[count], x[count] = i, value  # no branch: an inactive unit's entry is overwritten by the next
            count += value != 0
    else:
        for i in range(network.sizes[layer]):
            rows[count], x[count] = i, h[i]
            count += h[i] != 0 or slope[i] != 0
    scratch.active[layer] = count


@jit
def activation_and_slope(kind: int, z: Any) -> tuple[Any, Any]:
    one = z * 0 + 1
    if kind == LEAKY_RELU:
        slope = one if z > 0 else one * 0.01
        return z * slope, slope
    if kind == ELU:
        h = z if z > 0 else np.expm1(z)
        return h, (one if z > 0 else h + one)
    if kind == TANH:
        h = np.tanh(z)
        return h, one - h * h
    s = one / (one + np.exp(-z))
    if kind == SWISH:
        return z * s, s + z * s * (one - s)
    return s, s * (one - s)
