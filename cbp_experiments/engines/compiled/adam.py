"""Adam compiled: learners/optimizers/adam.py for one run at mini-batch 1.

Rows of inputs that are 0 have no gradient, but their weights keep moving while the moments decay. These weights are not
read, so they catch up when their input is next not 0: they take the steps of all updates since then together (equal up
to rounding), without those after the first `fade`, which are negligible (updates_to_fade). If every weight is needed
after every update, no row waits: with utilities, a row still rests once it has faded; under weight decay, it never
does.

The root of the second moment v is kept instead of v, because waiting weights move by the root. The moments of waiting
weights decay later than the weights move: in the update that ends the wait, which reads the moments anyway.
"""

from typing import Any

import numpy as np

from cbp_experiments.compiling import inlined, jit
from cbp_experiments.engines.compiled.adam_rows import (
    AdamArrays,
    adam_pair,
    adam_row,
    ages,
    move_row,
    powers,
    sum_steps,
    updates_to_fade,
)
from cbp_experiments.engines.compiled.hooks import (
    before_reading,
    begin_step,
    forget_unit,
    settle,
    step_factor,
    update_gains,
    update_layer,
    update_vector,
)
from cbp_experiments.engines.compiled.layers import as_matrix, matrix, pass_back
from cbp_experiments.engines.compiled.needs import all_weights_at_every_update, resets_units
from cbp_experiments.engines.compiled.structures import CHUNK, SMALLEST, Network, Parts, RunArrays, Scratch
from cbp_experiments.learners import Learner, optimizers


def build(part: optimizers.Adam, learner: Learner, network: Network) -> AdamArrays:
    dtype, widest, layers = network.weights.dtype, max(network.strides), len(network.starts)
    beta1, beta2, decay = part.beta1, part.beta2, learner.weight_decay
    fade = updates_to_fade(beta1, beta2, dtype, most=CHUNK)
    corrections = (layers + 1, widest) if resets_units(learner) else (1, 1)
    eager = all_weights_at_every_update(learner)
    summed = not eager and fade < CHUNK and dtype == np.float32

    def zeros(*shape: int) -> np.ndarray:
        return np.zeros(shape, dtype)

    return AdamArrays(
        step_size=dtype.type(learner.step_size),
        eager=eager,
        fade=CHUNK if decay else fade,  # with decay, no gradient is 0
        betas=np.array([beta1, 1 - beta1, beta2, 1 - beta2], dtype),
        constants=np.array([part.epsilon, decay, SMALLEST], dtype),
        paired=not eager and part.epsilon > SMALLEST**0.5,
        powers=powers(beta1, beta2, dtype, most=CHUNK),
        first=zeros(len(network.weights)),
        root=zeros(len(network.weights)),
        first_bias=zeros(layers, widest),
        root_bias=zeros(layers, widest),
        correction1=zeros(*corrections),
        correction2=zeros(*corrections),
        inverse1=zeros(layers + 1, widest),
        inverse2=zeros(layers + 1, widest),
        updates=np.zeros(1, np.int64),
        last=np.zeros((layers, widest), np.int64),
        rates=zeros(CHUNK),
        bends=zeros(CHUNK),
        sums=np.zeros((5, CHUNK if summed else 0)),
        ages=ages(beta1, beta2, fade if summed else 0),
        parts=np.zeros(fade if summed else 0),
        negligible=np.finfo(dtype).eps / 2 - 1e-14,
        moved=zeros(widest),
    )


@step_factor.of(AdamArrays)
@inlined
def gradients_themselves(adam: AdamArrays, run: RunArrays) -> Any:
    return run.network.weights.dtype.type(1)


@begin_step.of(AdamArrays)
@inlined
def age_corrections(adam: AdamArrays, run: RunArrays) -> None:
    """Age 1 - beta^t and its inverses by one update; record the rates and bends of the oldest weights."""
    one = adam.betas.dtype.type(1)
    for layer in range(adam.correction1.shape[0]):
        for i in range(adam.correction1.shape[1]):
            adam.correction1[layer, i] = adam.betas[0] * adam.correction1[layer, i] + adam.betas[1]
            adam.correction2[layer, i] = adam.betas[2] * adam.correction2[layer, i] + adam.betas[3]
            adam.inverse1[layer, i] = one / adam.correction1[layer, i]
            adam.inverse2[layer, i] = one / np.sqrt(adam.correction2[layer, i])
    adam.rates[adam.updates[0]] = adam.step_size * adam.inverse1[0, 0]
    adam.bends[adam.updates[0]] = adam.inverse2[0, 0]
    if adam.sums.shape[1] > 0:
        sum_steps(adam)
    adam.updates[0] += 1


@update_layer.of(AdamArrays)
@inlined
def update_weights(adam: AdamArrays, run: RunArrays, parts: Parts, layer: int) -> None:
    network, scratch = run.network, run.scratch
    update_matrix(adam, network, scratch, layer)
    update_gains(parts.normalization, run, adam, layer)
    update_values(adam, run, network.biases, (adam.first_bias, adam.root_bias), scratch.shift, layer)
    if layer > 0:
        pass_back(network, scratch, layer, network.biases.dtype.type(1))


@jit
def update_matrix(adam: AdamArrays, network: Network, scratch: Scratch, layer: int) -> None:
    """Update the weights of a layer; write what goes back to its active inputs to `scratch.back`."""
    gradient, step_size, number = scratch.step[layer + 1], adam.step_size, scratch.step.dtype.type
    zero, keep1, keep2 = number(0), adam.powers[0, 1], adam.powers[1, 1]
    rows, x, back, last = scratch.rows[layer], scratch.x[layer], scratch.back, adam.last[layer]
    w, first, root = matrix(network, layer), as_matrix(network, adam.first, layer), as_matrix(network, adam.root, layer)
    oldest1, oldest2 = adam.inverse1[0, 0], adam.inverse2[0, 0]
    inverse1, inverse2 = adam.inverse1[layer], adam.inverse2[layer]
    count, now = scratch.active[layer], adam.updates[0]
    paired = count // 2 * 2 if adam.paired else 0
    for q in range(0, paired, 2):
        adam_pair(w, first, root, rows, x, q, gradient, back, step_size * oldest1, oldest2, adam, layer)
    for q in range(paired, count):
        i = rows[q]
        waited = max(now - last[i] - (adam.fade if adam.eager else 0), 1)  # updates that the moments have not seen
        row1, row2 = max(oldest1, inverse1[i]), max(oldest2, inverse2[i])
        left1, left2 = adam.powers[0, waited], adam.powers[1, waited]
        back[q] = adam_row(w, first, root, i, x[q], gradient, left1, left2, row1, row2, adam, layer)
    for q in range(count):
        last[rows[q]] = now
    if adam.eager:
        for i in range(network.sizes[layer]):
            if 0 < now - last[i] <= adam.fade:
                row1, row2 = max(oldest1, inverse1[i]), max(oldest2, inverse2[i])
                adam_row(w, first, root, i, zero, gradient, keep1, keep2, row1, row2, adam, layer)


@update_vector.of(AdamArrays)
@inlined
def update_values(
    adam: AdamArrays, run: RunArrays, values: np.ndarray, moments: Any, step: np.ndarray, layer: int
) -> None:
    one, keep1, keep2 = step.dtype.type(1), adam.powers[0, 1], adam.powers[1, 1]
    first, root = moments
    adam_row(values, first, root, layer, one, step, keep1, keep2, adam.inverse1[0, 0], adam.inverse2[0, 0], adam, layer)


@before_reading.of(AdamArrays)
@inlined
def catch_up_rows(adam: AdamArrays, run: RunArrays, layer: int, rows: np.ndarray, count: int) -> None:
    """Bring the weights of these rows up to date; their moments follow in the update."""
    catch_up(adam, run.network, layer, rows, count)


@jit
def catch_up(adam: AdamArrays, network: Network, layer: int, rows: np.ndarray, count: int) -> None:
    if not adam.eager:
        w, first, root = (
            matrix(network, layer),
            as_matrix(network, adam.first, layer),
            as_matrix(network, adam.root, layer),
        )
        for q in range(count):
            move_row(w, first, root, rows[q], adam.last[layer, rows[q]], adam)


@settle.of(AdamArrays)
@inlined
def catch_up_all(adam: AdamArrays, run: RunArrays, parts: Parts) -> None:
    """Bring all rows up to date and restart the counts, so that a checkpoint needs no record of waiting rows."""
    network, smallest = run.network, adam.constants[2]
    zero = smallest * 0
    for layer in range(len(network.starts)):
        first, root = as_matrix(network, adam.first, layer), as_matrix(network, adam.root, layer)
        for row in range(network.sizes[layer]):
            if not adam.eager:
                move_row(matrix(network, layer), first, root, row, adam.last[layer, row], adam)
            waited = max(adam.updates[0] - adam.last[layer, row] - (adam.fade if adam.eager else 0), 0)
            left1, left2 = adam.powers[0, waited], np.sqrt(adam.powers[1, waited])
            for j in range(first.shape[1]):
                m, s = left1 * first[row, j], left2 * root[row, j]
                first[row, j] = zero if abs(m) <= smallest else m
                root[row, j] = zero if s * s <= smallest else s
            adam.last[layer, row] = 0
    adam.updates[0] = 0


@forget_unit.of(AdamArrays)
@inlined
def forget_moments(adam: AdamArrays, run: RunArrays, layer: int, unit: int) -> None:
    """Forget the moments of a unit's weights and bias, and their counts of updates."""
    network = run.network
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
