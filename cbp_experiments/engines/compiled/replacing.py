"""Unit replacement compiled: learners/replacement.py for one run at mini-batch 1."""

from typing import NamedTuple

import numpy as np

from cbp_experiments.compiling import compiles_in, exact, inlined
from cbp_experiments.engines.compiled.draws import purpose_keys, uniform
from cbp_experiments.engines.compiled.hooks import after_update, between_updates, sum_magnitudes
from cbp_experiments.engines.compiled.resetting import reset_unit
from cbp_experiments.engines.compiled.structures import (
    ADAPTABLE_CONTRIBUTION,
    ADAPTATION,
    CONTRIBUTION,
    RANDOM,
    UTILITIES,
    Network,
    Parts,
    RunArrays,
)
from cbp_experiments.learners import Learner, UnitReplacement


@compiles_in(3.4)
class ReplacementArrays(NamedTuple):
    """Hyperparameters, and the state of hidden layer l in row l."""

    rate: float
    maturity_threshold: int
    utility_kind: int
    reset_normalization: bool
    decay: np.ndarray  # float [2]: eta, 1 - eta
    utility: np.ndarray  # float [hidden layers, largest stride]
    mean_activation: np.ndarray
    correction: np.ndarray  # 1 - eta^age, as a moving average of 1
    age: np.ndarray  # int64 [hidden layers, largest stride]
    to_replace: np.ndarray  # float64 [hidden layers]
    replaced: np.ndarray  # int64 [1]: units replaced in the task so far
    ranking: np.ndarray  # uint64 [hidden layers]: keys of the draws for a random ranking
    fresh: np.ndarray  # uint64 [hidden layers]: keys of the draws for fresh weights

    def begin_task(self, key: int) -> None:
        self.replaced[0] = 0

    def state(self, within_task: bool) -> dict[str, np.ndarray]:
        names = ("utility", "mean_activation", "correction", "age", "to_replace")
        kept = {name: getattr(self, name) for name in names}
        return kept | ({"task_replaced": self.replaced} if within_task else {})


def build(part: UnitReplacement, learner: Learner, network: Network) -> ReplacementArrays:
    dtype, eta = network.weights.dtype, part.decay_rate
    hidden = (len(network.starts) - 1, max(network.strides))
    return ReplacementArrays(
        rate=part.replacement_rate,
        maturity_threshold=part.maturity_threshold,
        utility_kind=UTILITIES.index(part.utility),
        reset_normalization=part.reset_normalization,
        decay=np.array([eta, 1 - eta], dtype),
        utility=np.zeros(hidden, dtype),
        mean_activation=np.zeros(hidden, dtype),
        correction=np.zeros(hidden, dtype),
        age=np.zeros(hidden, np.int64),
        to_replace=np.zeros(hidden[0]),
        replaced=np.zeros(1, np.int64),
        ranking=purpose_keys("ranking", network),
        fresh=purpose_keys("replacement", network),
    )


@after_update.of(ReplacementArrays)
@inlined
def track(replacement: ReplacementArrays, run: RunArrays, parts: Parts) -> None:
    if not parts.magnitudes.running:
        sum_magnitudes(parts.magnitudes, run)
    for layer in range(len(run.network.starts) - 1):
        track_utility(replacement, run, parts, layer)


@between_updates.of(ReplacementArrays)
@inlined
def replace(replacement: ReplacementArrays, run: RunArrays, parts: Parts, t: int, events: np.ndarray) -> None:
    for layer in range(len(run.network.starts) - 1):
        replace_units(replacement, run, parts, layer, t, events)


@inlined
def track_utility(replacement: ReplacementArrays, run: RunArrays, parts: Parts, layer: int) -> None:
    """Update age, mean activation f and utility u of a hidden layer's units (steps 1 to 4 of Algorithm 1)."""
    network, kind, h = run.network, replacement.utility_kind, run.scratch.h[layer + 1]
    n = network.sizes[layer + 1]
    age, f, u = replacement.age[layer], replacement.mean_activation[layer], replacement.utility[layer]
    incoming, outgoing = parts.magnitudes.incoming[layer], parts.magnitudes.outgoing[layer + 1]
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
    replacement: ReplacementArrays, run: RunArrays, parts: Parts, layer: int, t: int, events: np.ndarray
) -> None:
    """Replace the units that are due in a hidden layer, the least useful mature ones first."""
    n, age = run.network.sizes[layer + 1], replacement.age[layer]
    mature = 0
    for i in range(n):
        mature += age[i] > replacement.maturity_threshold
    due = take_due(replacement.to_replace, layer, replacement.rate, mature)
    if due == 0:
        return
    ranking = run.scratch.back  # free between updates
    for i in range(n):
        if replacement.utility_kind == RANDOM:
            ranking[i] = uniform(run.draws, replacement.ranking[layer], i)
        else:
            ranking[i] = replacement.utility[layer, i] / replacement.correction[layer, i]
            if replacement.utility_kind == ADAPTABLE_CONTRIBUTION and age[i] == 1:
                ranking[i] = 0  # the mean activation is the activation, except for rounding
        if age[i] <= replacement.maturity_threshold:
            ranking[i] = np.inf
    for k in range(min(due, mature)):
        unit = np.argmin(ranking[:n])
        ranking[unit] = np.inf
        reset_unit(run, parts, layer, unit, replacement.fresh[layer], k, replacement.reset_normalization)
        replacement.utility[layer, unit] = 0
        replacement.mean_activation[layer, unit] = 0
        replacement.correction[layer, unit] = 0
        replacement.age[layer, unit] = 0
        event = replacement.replaced[0]
        if event < len(events):
            events[event, 0], events[event, 1], events[event, 2] = t, layer, unit
        replacement.replaced[0] += 1


@exact
def take_due(to_replace: np.ndarray, layer: int, rate: float, mature: int) -> int:
    """Add an update's share of the mature units to a layer's fraction; subtract and return the whole units.

    With round numbers the sum often is a whole number (0.001 x 100 units x 10 updates), and then its last bit decides
    when a unit is replaced.
    """
    to_replace[layer] += rate * mature
    due = int(to_replace[layer])
    to_replace[layer] -= due
    return due
