"""Dropout compiled: learners/dropout.py for one run at mini-batch 1."""

from typing import NamedTuple

import numpy as np

from cbp_experiments.compiling import inlined
from cbp_experiments.engines.compiled.activations import list_active
from cbp_experiments.engines.compiled.draws import purpose_keys, u64, uniform_bits
from cbp_experiments.engines.compiled.hooks import activations
from cbp_experiments.engines.compiled.structures import Network, RunArrays
from cbp_experiments.learners import Dropout, Learner


class DropoutArrays(NamedTuple):
    rate: float
    keys: np.ndarray  # uint64 [hidden layers]

    def begin_task(self, key: int) -> None:
        pass

    def state(self, within_task: bool) -> dict[str, np.ndarray]:
        return {}


def build(part: Dropout, learner: Learner, network: Network) -> DropoutArrays:
    return DropoutArrays(part.dropout, purpose_keys("dropout", network))


@activations.of(DropoutArrays)
@inlined
def drop(dropout: DropoutArrays, run: RunArrays, layer: int) -> None:
    h, slope = run.scratch.h[layer + 1], run.scratch.slope[layer + 1]
    n, zero, scale = run.network.sizes[layer + 1], h.dtype.type(0), h.dtype.type(1 / (1 - dropout.rate))
    purpose, least = dropout.keys[layer], u64(np.ceil(dropout.rate * 2.0**53))
    for i in range(n):
        kept = scale if uniform_bits(run.draws, purpose, i) >= least else zero
        h[i] *= kept
        slope[i] *= kept
    list_active(run, layer + 1)
