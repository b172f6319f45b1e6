"""Activations of a hidden layer, and which of them the next layer has to read."""

from typing import Any

import numpy as np

from cbp_experiments.compiling import inlined, jit
from cbp_experiments.engines.compiled.structures import ELU, LEAKY_RELU, RELU, SWISH, TANH, RunArrays


@inlined
def activate(run: RunArrays, layer: int) -> None:
    """Turn the sums in `scratch.h[layer]` into activations; list those that the next layer has to read."""
    h, slope, kind = run.scratch.h[layer], run.scratch.slope[layer], run.network.activation
    n, zero = run.network.sizes[layer], h.dtype.type(0)
    if kind == RELU:
        for i in range(n):
            h[i] = h[i] if h[i] > 0 else h[i] * zero  # NaN stays NaN
            slope[i] = 1  # only the slopes of active units are read
    else:
        for i in range(n):
            h[i], slope[i] = activation_and_slope(kind, h[i])
    list_active(run, layer)


@inlined
def list_active(run: RunArrays, layer: int) -> None:
    """List the units of a hidden layer that the next layer has to read."""
    scratch, n = run.scratch, run.network.sizes[layer]
    h, slope, rows, x = scratch.h[layer], scratch.slope[layer], scratch.rows[layer], scratch.x[layer]
    count = 0
    if run.network.activation == RELU:
        for i in range(n):
            value = h[i]
            rows[count], x[count] = i, value  # no branch: an inactive unit's entry is overwritten by the next
            count += value != 0
    else:
        for i in range(n):
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
