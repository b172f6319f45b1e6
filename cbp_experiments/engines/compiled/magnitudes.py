"""Sums of |w| over the inputs and outputs of each unit, which SGD keeps up to date while it changes the rows."""

from typing import NamedTuple

import numpy as np

from cbp_experiments.compiling import inlined
from cbp_experiments.engines.compiled.hooks import sum_magnitudes, update_rows_of
from cbp_experiments.engines.compiled.layers import matrix
from cbp_experiments.engines.compiled.rows import (
    backward_rows,
    backward_rows_tracked,
    update_rows,
    update_rows_tracked,
)
from cbp_experiments.engines.compiled.structures import Network, RunArrays

MOSTLY_GONE = 0.01  # if less of a sum is left, its rounding counts 100-fold, so it is recomputed


class Magnitudes(NamedTuple):
    incoming: np.ndarray  # float [L, largest stride]: sum of |w| over the inputs of each unit of layer l
    outgoing: np.ndarray  # float [L, largest stride]: over the outputs of each input of layer l > 0
    running: bool  # the optimizer keeps them up to date; else they are recomputed when needed

    def begin_task(self, key: int) -> None:
        pass

    def state(self, within_task: bool) -> dict[str, np.ndarray]:
        return {"task_incoming": self.incoming, "task_outgoing": self.outgoing} if within_task else {}


def build(network: Network, running: bool) -> Magnitudes:
    shape, dtype = network.biases.shape, network.biases.dtype
    return Magnitudes(np.zeros(shape, dtype), np.zeros(shape, dtype), running)


@sum_magnitudes.of(Magnitudes)
@inlined
def sum_afresh(magnitudes: Magnitudes, run: RunArrays) -> None:
    network = run.network
    for layer in range(len(network.starts)):
        n, start = network.strides[layer + 1], network.starts[layer]
        incoming = magnitudes.incoming[layer]
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
                magnitudes.outgoing[layer, i] = total


@update_rows_of.of(Magnitudes)
@inlined
def update_tracked(magnitudes: Magnitudes, run: RunArrays, layer: int) -> None:
    w, scratch, incoming = matrix(run.network, layer), run.scratch, magnitudes.incoming[layer]
    rows, x, count, step = scratch.rows[layer], scratch.x[layer], scratch.active[layer], scratch.step[layer + 1]
    if layer > 0:
        backward_rows_tracked(w, rows, x, count, step, scratch.back, magnitudes.outgoing[layer], incoming)
    else:
        update_rows_tracked(w, rows, x, count, step, incoming)


@update_rows_of.of(type(None))
@inlined
def update_untracked(magnitudes: None, run: RunArrays, layer: int) -> None:
    w, scratch = matrix(run.network, layer), run.scratch
    rows, x, count, step = scratch.rows[layer], scratch.x[layer], scratch.active[layer], scratch.step[layer + 1]
    if layer > 0:
        backward_rows(w, rows, x, count, step, scratch.back)
    else:
        update_rows(w, rows, x, count, step)
