"""Unit replacement compiled: learners/replacement.py for one run at mini-batch 1, with running sums of |w|."""

import numpy as np

from cbp_experiments.compiling import exact, inlined
from cbp_experiments.engines.compiled.draws import uniform
from cbp_experiments.engines.compiled.layers import matrix
from cbp_experiments.engines.compiled.normalizing import renew_normalization
from cbp_experiments.engines.compiled.structures import (
    ADAPTABLE_CONTRIBUTION,
    ADAPTATION,
    CONTRIBUTION,
    RANDOM,
    Adam,
    Draws,
    Network,
    Normalization,
    Replacement,
    Scratch,
)

RESUM_EVERY = 1000  # updates between fresh sums of |w|: bounds the rounding that running sums gather
MOSTLY_GONE = 0.01  # when less of a sum is left, its rounding counts 100-fold: it is summed afresh


@inlined
def sum_magnitudes(network: Network, replacement: Replacement) -> None:
    """Sums of |w| of the rows of hidden units (outgoing) and of all columns (incoming), afresh."""
    for layer in range(len(network.starts)):
        n, start = network.strides[layer + 1], network.starts[layer]
        incoming = replacement.incoming[layer]
        for j in range(n):
            incoming[j] = 0
        for i in range(network.sizes[layer]):
            row = network.weights[start + i * n : start + (i + 1) * n]
            for j in range(n):
                incoming[j] += abs(row[j])
            if layer > 0:
                total = row.dtype.type(0)
                for j in range(n):
                    total += abs(row[j])
                replacement.outgoing[layer, i] = total


@inlined
def track_utility(network: Network, replacement: Replacement, scratch: Scratch, layer: int) -> None:
    """Age, mean activation f and utility u of the units of a hidden layer (paper.md: steps 1-4 of Algorithm 1)."""
    n, kind, h = network.sizes[layer + 1], replacement.utility_kind, scratch.h[layer + 1]
    age, f, u = replacement.age[layer], replacement.mean_activation[layer], replacement.utility[layer]
    incoming, outgoing = replacement.incoming[layer], replacement.outgoing[layer + 1]
    correction, decay, rest = replacement.correction[layer], replacement.decay[0], replacement.decay[1]
    from_in = h.dtype.type(network.scale[0] / network.sizes[layer])  # from sums of |w| to means
    from_out = h.dtype.type(network.scale[0] / network.sizes[layer + 2])
    zero = h.dtype.type(0)
    for i in range(n):
        age[i] += 1
    for i in range(n):
        correction[i] = decay * correction[i] + rest
        f[i] = decay * f[i] + rest * h[i]
    if kind == ADAPTABLE_CONTRIBUTION:
        for i in range(n):
            centred = abs(h[i] - f[i] / correction[i])
            reach = incoming[i] * from_in
            u[i] = decay * u[i] + (rest * (centred * (outgoing[i] * from_out) / reach) if reach > 0 else zero)
    elif kind == CONTRIBUTION:
        for i in range(n):
            u[i] = decay * u[i] + rest * (abs(h[i]) * (outgoing[i] * from_out))
    elif kind == ADAPTATION:
        for i in range(n):
            reach = incoming[i] * from_in
            u[i] = decay * u[i] + (rest / reach if reach > 0 else zero)
    else:
        for i in range(n):
            u[i] = decay * u[i] + rest * (outgoing[i] * from_out)


@inlined
def replace_units(
    network: Network,
    normalization: Normalization | None,
    adam: Adam | None,
    replacement: Replacement,
    scratch: Scratch,
    layer: int,
    draws: Draws,
    t: int,
    events: np.ndarray,
) -> None:
    """Replace what is due in a hidden layer, the least useful mature units first."""
    n, age = network.sizes[layer + 1], replacement.age[layer]
    mature = 0
    for i in range(n):
        mature += age[i] > replacement.maturity_threshold
    due = take_due(replacement.to_replace, layer, replacement.rate, mature)
    if due == 0:
        return
    ranking = scratch.back  # free between updates
    for i in range(n):
        if replacement.utility_kind == RANDOM:
            ranking[i] = uniform(draws, draws.ranking[layer], i)
        else:
            ranking[i] = replacement.utility[layer, i] / replacement.correction[layer, i]
            if replacement.utility_kind == ADAPTABLE_CONTRIBUTION and age[i] == 1:
                ranking[i] = 0  # the mean activation is the activation, but for rounding
        if age[i] <= replacement.maturity_threshold:
            ranking[i] = np.inf
    for k in range(min(due, mature)):
        unit = np.argmin(ranking[:n])
        ranking[unit] = np.inf
        renew_unit(network, replacement, layer, unit, draws, k)
        if normalization is not None and normalization.reset:
            renew_normalization(normalization, layer, unit)
        if adam is not None:
            renew_moments(network, adam, layer, unit)
        event = replacement.replaced[0]
        if event < len(events):
            events[event, 0], events[event, 1], events[event, 2] = t, layer, unit
        replacement.replaced[0] += 1


@exact
def take_due(to_replace: np.ndarray, layer: int, rate: float, mature: int) -> int:
    """Add an update's share of the mature units to a layer's fractions; take off and return the whole units.

    Round numbers make the sum a whole one every so often (0.001 x 100 units x 10 updates), and then its last bit
    decides when a unit goes.
    """
    to_replace[layer] += rate * mature
    due = int(to_replace[layer])
    to_replace[layer] -= due
    return due


@inlined
def renew_unit(network: Network, replacement: Replacement, layer: int, unit: int, draws: Draws, k: int) -> None:
    """Fresh incoming weights, bias and outgoing weights 0, and the sums of |w| that follow from it.

    `k` other units of the layer were replaced at this update.
    """
    w, bound, scale = matrix(network, layer), replacement.bounds[layer], network.scale[0]
    replacement.incoming[layer, unit] = 0
    for i in range(network.sizes[layer]):
        before = abs(w[i, unit])
        w[i, unit] = (-bound + 2 * bound * fresh(draws, layer, k * network.sizes[layer] + i)) / scale
        if layer > 0:
            replacement.outgoing[layer, i] += abs(w[i, unit]) - before
        replacement.incoming[layer, unit] += abs(w[i, unit])
    network.biases[layer, unit] = 0
    w = matrix(network, layer + 1)
    for j in range(w.shape[1]):
        before = replacement.incoming[layer + 1, j]
        replacement.incoming[layer + 1, j] -= abs(w[unit, j])
        w[unit, j] = 0
        if replacement.incoming[layer + 1, j] < MOSTLY_GONE * before:
            replacement.incoming[layer + 1, j] = 0
            for i in range(network.sizes[layer + 1]):
                replacement.incoming[layer + 1, j] += abs(w[i, j])
    replacement.outgoing[layer + 1, unit] = 0
    replacement.utility[layer, unit] = 0
    replacement.mean_activation[layer, unit] = 0
    replacement.correction[layer, unit] = 0
    replacement.age[layer, unit] = 0


@inlined
def fresh(draws: Draws, layer: int, i: int) -> float:
    """Number i for the incoming weights of the units replaced in a layer at this update, in [0, 1)."""
    if draws.taken[0] < len(draws.given):
        draws.taken[0] += 1
        return draws.given[draws.taken[0] - 1]
    return uniform(draws, draws.replacement[layer], i)


@inlined
def renew_moments(network: Network, adam: Adam, layer: int, unit: int) -> None:
    """Adam forgets what it knows of a replaced unit's weights."""
    n = network.strides[layer + 1]
    for i in range(network.sizes[layer]):
        at = network.starts[layer] + i * n + unit
        adam.first[at] = 0
        adam.root[at] = 0
    for j in range(network.strides[layer + 2]):
        at = network.starts[layer + 1] + unit * network.strides[layer + 2] + j
        adam.first[at] = 0
        adam.root[at] = 0
    adam.first_bias[layer, unit] = 0
    adam.root_bias[layer, unit] = 0
    adam.correction1[layer + 1, unit] = 0
    adam.correction2[layer + 1, unit] = 0
