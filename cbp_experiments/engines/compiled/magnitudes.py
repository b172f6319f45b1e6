"""Sums of |w| over the inputs and outputs of each unit, which SGD keeps up to date while it changes the rows."""

from typing import NamedTuple

import numpy as np

from cbp_experiments.compiling import inlined
from cbp_experiments.engines.compiled.hooks import renew_weights, sum_magnitudes, update_rows_of
from cbp_experiments.engines.compiled.layers import matrix
from cbp_experiments.engines.compiled.resetting import fresh_weight
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


@renew_weights.of(Magnitudes)
@inlined
def renew_and_track(magnitudes: Magnitudes, run: RunArrays, layer: int, unit: int, purpose: np.uint64, k: int) -> None:
    incoming, outgoing, inputs = magnitudes.incoming, magnitudes.outgoing, run.network.sizes[layer]
    w = matrix(run.network, layer)
    incoming[layer, unit] = 0
    for i in range(inputs):
        before = abs(w[i, unit])
        w[i, unit] = fresh_weight(run, layer, purpose, k * inputs + i)
        if layer > 0:
            outgoing[layer, i] += abs(w[i, unit]) - before
        incoming[layer, unit] += abs(w[i, unit])
    w = matrix(run.network, layer + 1)
    for j in range(w.shape[1]):
        before = incoming[layer + 1, j]
        incoming[layer + 1, j] -= abs(w[unit, j])
        w[unit, j] = 0
        if incoming[layer + 1, j] < MOSTLY_GONE * before:
            incoming[layer + 1, j] = 0
            for i in range(run.network.sizes[layer + 1]):
                incoming[layer + 1, j] += abs(w[i, j])
    outgoing[layer + 1, unit] = 0


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
