"""Resetting.reset_units (learners/resetting.py) compiled, for one unit of one run."""

import numpy as np

from cbp_experiments.compiling import inlined
from cbp_experiments.engines.compiled.draws import uniform
from cbp_experiments.engines.compiled.hooks import forget_unit, renew_weights
from cbp_experiments.engines.compiled.layers import matrix
from cbp_experiments.engines.compiled.structures import Parts, RunArrays


@inlined
def reset_unit(
    run: RunArrays, parts: Parts, layer: int, unit: int, purpose: np.uint64, k: int, normalization: bool
) -> None:
    """Reset a unit of a hidden layer: fresh incoming weights, bias and outgoing weights 0.

    The optimizer forgets the unit, and with `normalization` so does the normalization. k: as in hooks.renew_weights.
    """
    renew_weights(parts.magnitudes, run, layer, unit, purpose, k)
    run.network.biases[layer, unit] = 0
    forget_unit(parts.optimizer, run, layer, unit)
    if normalization:
        forget_unit(parts.normalization, run, layer, unit)


@renew_weights.of(type(None))
@inlined
def renew(magnitudes: None, run: RunArrays, layer: int, unit: int, purpose: np.uint64, k: int) -> None:
    w, inputs = matrix(run.network, layer), run.network.sizes[layer]
    for i in range(inputs):
        w[i, unit] = fresh_weight(run, layer, purpose, k * inputs + i)
    w = matrix(run.network, layer + 1)
    for j in range(w.shape[1]):
        w[unit, j] = 0


@inlined
def fresh_weight(run: RunArrays, layer: int, purpose: np.uint64, i: int) -> float:
    """Draw number i for the incoming weights of the units reset in a layer at this update, as it is in memory."""
    draws, bound = run.draws, run.network.bounds[layer]
    if draws.taken[0] < len(draws.given):
        draws.taken[0] += 1
        number = draws.given[draws.taken[0] - 1]
    else:
        number = uniform(draws, purpose, i)
    return (-bound + 2 * bound * number) / run.network.scale[0]
