"""Resetting.reset_units (learners/resetting.py) compiled, for one unit of one run."""

import numpy as np

from cbp_experiments.compiling import inlined
from cbp_experiments.engines.compiled.draws import uniform
from cbp_experiments.engines.compiled.hooks import forget_unit
from cbp_experiments.engines.compiled.layers import matrix
from cbp_experiments.engines.compiled.magnitudes import MOSTLY_GONE
from cbp_experiments.engines.compiled.structures import DrawKeys, Parts, RunArrays


@inlined
def reset_unit(
    run: RunArrays, parts: Parts, layer: int, unit: int, purpose: np.uint64, k: int, normalization: bool
) -> None:
    """Reset a unit of a hidden layer: fresh incoming weights, bias and outgoing weights 0; adjust the sums of |w|.

    The optimizer forgets the unit, and with `normalization` so does the normalization. `k` other units of the layer
    were reset for this purpose at this update.
    """
    network, magnitudes = run.network, parts.magnitudes
    w, bound, scale = matrix(network, layer), network.bounds[layer], network.scale[0]
    magnitudes.incoming[layer, unit] = 0
    for i in range(network.sizes[layer]):
        before = abs(w[i, unit])
        w[i, unit] = (-bound + 2 * bound * fresh(run.draws, purpose, k * network.sizes[layer] + i)) / scale
        if layer > 0:
            magnitudes.outgoing[layer, i] += abs(w[i, unit]) - before
        magnitudes.incoming[layer, unit] += abs(w[i, unit])
    network.biases[layer, unit] = 0
    w = matrix(network, layer + 1)
    for j in range(w.shape[1]):
        before = magnitudes.incoming[layer + 1, j]
        magnitudes.incoming[layer + 1, j] -= abs(w[unit, j])
        w[unit, j] = 0
        if magnitudes.incoming[layer + 1, j] < MOSTLY_GONE * before:
            magnitudes.incoming[layer + 1, j] = 0
            for i in range(network.sizes[layer + 1]):
                magnitudes.incoming[layer + 1, j] += abs(w[i, j])
    magnitudes.outgoing[layer + 1, unit] = 0
    forget_unit(parts.optimizer, run, layer, unit)
    if normalization:
        forget_unit(parts.normalization, run, layer, unit)


@inlined
def fresh(draws: DrawKeys, purpose: np.uint64, i: int) -> float:
    """Draw number i in [0, 1) for the incoming weights of the units reset in a layer at this update."""
    if draws.taken[0] < len(draws.given):
        draws.taken[0] += 1
        return draws.given[draws.taken[0] - 1]
    return uniform(draws, purpose, i)
