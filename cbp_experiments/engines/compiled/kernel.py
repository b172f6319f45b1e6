"""One run's training loop at mini-batch 1, compiled: the same step as learners/step.py, without what is zero.

The gradient of one example is an outer product, and the rows of inputs that are 0 have no part in it: not in the
forward pass, not in the backward pass, not in the update. MNIST pixels are 81 % zeros and ReLU units about half;
skipping their rows changes no result. Back-propagation and update share one pass over each row (rows.py).
"""

import numpy as np

from cbp_experiments.compiling import announced, inlined, jit
from cbp_experiments.engines.compiled.activations import activate, drop
from cbp_experiments.engines.compiled.adam import age_corrections, catch_up_all, catch_up_rows, update_layer_adam
from cbp_experiments.engines.compiled.draws import next_update
from cbp_experiments.engines.compiled.layers import matrix, pass_back
from cbp_experiments.engines.compiled.noise import gather_noise, settle_all, settle_rows
from cbp_experiments.engines.compiled.normalizing import control, normalize
from cbp_experiments.engines.compiled.outputs import output_step
from cbp_experiments.engines.compiled.replacing import RESUM_EVERY, replace_units, sum_magnitudes, track_utility
from cbp_experiments.engines.compiled.rows import (
    add_rows,
    backward_rows,
    backward_rows_tracked,
    update_rows,
    update_rows_tracked,
)
from cbp_experiments.engines.compiled.structures import (
    Adam,
    Draws,
    Examples,
    Network,
    Noise,
    Normalization,
    Replacement,
    Scratch,
    Update,
)

SMALLEST_SCALE = 1e-3
FRESH = 2**15  # weights that are brought up to date and then read while they are in a cache


@announced(network=4.6, normalization=1.1, noise=0.7, adam=3.6, replacement=3.4)
def learn(
    network: Network,
    examples: Examples,
    update: Update,
    normalization: Normalization | None,
    noise: Noise | None,
    adam: Adam | None,
    replacement: Replacement | None,
    scratch: Scratch,
    order: np.ndarray,
    position: np.ndarray,
    draws: Draws,
    begin: int,
    end: int,
    settle: bool,
    losses: np.ndarray,
    hits: np.ndarray,
    events: np.ndarray,
) -> int:
    """One update for each example `order[t]`, t from `begin` to `end`; feature i is the network's input `position[i]`.

    Fills `losses[t]` and `hits[t]` by the predictions before the update, and `events` with the rows (t, layer, unit)
    of the replacements, as far as it has room. Returns the t it has come to: before `end` if a loss is not finite.

    A mechanism that the learner does not have is None. Numba then leaves out the branches of `is not None`, which is
    four fifths of what there is to compile for BP; it does not see through a function that asks.

    `settle`: finish what is put off (noise, idle rows of Adam, the scale of the weights), as before anyone reads the
    weights. It changes the order of rounding, so it is done at fixed t only, however the updates are cut into calls.
    """
    layers = len(network.starts)
    for t in range(begin, end):
        if replacement is not None and t % RESUM_EVERY == 0:
            sum_magnitudes(network, replacement)
        next_update(draws, t + 1)
        example = order[t]
        forward(network, examples, normalization, scratch, example, position, update.dropout, noise, adam, draws)
        step_size = network.weights.dtype.type(1) if adam is not None else update.step_size
        losses[t], hits[t] = output_step(network, scratch, examples.labels, example, step_size)
        if not np.isfinite(losses[t]):
            end = t
            break
        if adam is not None:
            age_corrections(adam, update)
        for layer in range(layers - 1, -1, -1):
            if normalization is not None and layer + 1 < len(network.starts):
                control(network, normalization, scratch, layer)
            if adam is not None:
                update_layer_adam(network, update, normalization, adam, scratch, layer)
            else:
                update_layer(network, update, normalization, replacement, scratch, layer)
        shrink(network, update, noise, replacement)
        if noise is not None:
            gather_noise(network, normalization, noise)
            # Weight decay moves every weight by what it is, and utilities need them all.
            if replacement is not None or (adam is not None and adam.eager):
                settle_all(network, noise)
        if replacement is not None:
            if adam is not None or noise is not None:
                sum_magnitudes(network, replacement)
            for layer in range(layers - 1):
                track_utility(network, replacement, scratch, layer)
            for layer in range(layers - 1):
                replace_units(network, normalization, adam, replacement, scratch, layer, draws, t, events)
    if settle:
        if noise is not None:
            settle_all(network, noise)
        if adam is not None:
            catch_up_all(network, adam)
        fold_scale(network, noise, replacement)
    return end


@inlined
def forward(
    network: Network,
    examples: Examples,
    normalization: Normalization | None,
    scratch: Scratch,
    example: int,
    position: np.ndarray,
    dropout: float,
    noise: Noise | None,
    adam: Adam | None,
    draws: Draws,
) -> None:
    """Activations of one example in `scratch.h`, and for each layer the inputs that are not 0."""
    count = 0
    for p in range(examples.starts[example], examples.starts[example + 1]):
        scratch.rows[0, count] = position[examples.features[p]]
        scratch.x[0, count] = examples.values[p]
        count += 1
    scratch.active[0] = count
    layers = len(network.starts)
    scale = network.weights.dtype.type(network.scale[0])
    for layer in range(layers):
        n, h = network.strides[layer + 1], scratch.h[layer + 1]
        for j in range(n):
            h[j] = 0
        together = max(FRESH // n // 8 * 8, 8) if noise is not None or adam is not None else scratch.active[layer] + 1
        for q in range(0, scratch.active[layer], together):
            rows, x, count = scratch.rows[layer, q:], scratch.x[layer, q:], min(together, scratch.active[layer] - q)
            if noise is not None:
                settle_rows(network, noise, layer, rows, count)
            if adam is not None:
                catch_up_rows(network, adam, layer, rows, count)
            add_rows(matrix(network, layer), rows, x, count, h)
        if normalization is not None and layer + 1 < len(network.starts):
            for j in range(n):
                h[j] *= scale
            normalize(network, normalization, scratch, layer)
        else:
            for j in range(n):
                h[j] = scale * h[j] + network.biases[layer, j]
        if layer + 1 < layers:
            activate(network, scratch, layer + 1)
            if dropout > 0:
                drop(network, scratch, layer + 1, dropout, draws)


@inlined
def update_layer(
    network: Network,
    update: Update,
    normalization: Normalization | None,
    replacement: Replacement | None,
    scratch: Scratch,
    layer: int,
) -> None:
    """SGD on a layer by the step of its outputs; leaves that of its inputs in `scratch.step[layer]`.

    In memory lie the true weights over the scale, and the decay shrinks the scale alone: true - x step becomes
    w - x step / (scale shrink).
    """
    w, n = matrix(network, layer), network.strides[layer + 1]
    rows, x, count = scratch.rows[layer], scratch.x[layer], scratch.active[layer]
    step, back, number = scratch.step[layer + 1], scratch.back, scratch.step.dtype.type
    kept, per_scale = number(update.shrink), number(1 / (network.scale[0] * update.shrink))
    if normalization is not None and layer + 1 < len(network.starts):
        for j in range(n):
            network.biases[layer, j] = network.biases[layer, j] * kept - normalization.shift_step[j]
        for j in range(n):
            normalization.gain[layer, j] = normalization.gain[layer, j] * kept - normalization.gain_step[j]
        for j in range(n):
            step[j] *= per_scale
    else:
        for j in range(n):
            network.biases[layer, j] = network.biases[layer, j] * kept - step[j]
            step[j] *= per_scale
    if replacement is not None and layer > 0:
        backward_rows_tracked(w, rows, x, count, step, back, replacement.outgoing[layer], replacement.incoming[layer])
    elif replacement is not None:
        update_rows_tracked(w, rows, x, count, step, replacement.incoming[layer])
    elif layer > 0:
        backward_rows(w, rows, x, count, step, back)
    else:
        update_rows(w, rows, x, count, step)
    if layer > 0:
        pass_back(network, scratch, layer, number(network.scale[0] ** 2 * update.shrink))


@inlined
def shrink(network: Network, update: Update, noise: Noise | None, replacement: Replacement | None) -> None:
    """Weight decay of all weights, touching none; once in a while the scale is worked into them."""
    network.scale[0] *= update.shrink
    if network.scale[0] < SMALLEST_SCALE:
        fold_scale(network, noise, replacement)


@inlined
def fold_scale(network: Network, noise: Noise | None, replacement: Replacement | None) -> None:
    if network.scale[0] != 1:
        scale = network.weights.dtype.type(network.scale[0])
        if noise is not None:
            noise.variance[0] *= network.scale[0] ** 2
            for layer in range(noise.settled.shape[0]):
                for row in range(noise.settled.shape[1]):
                    noise.settled[layer, row] *= network.scale[0] ** 2
        for i in range(len(network.weights)):
            network.weights[i] *= scale
        if replacement is not None:
            sum_magnitudes(network, replacement)
        network.scale[0] = 1


@jit
def first_sums(w: np.ndarray, examples: Examples, rows: np.ndarray, out: np.ndarray) -> None:
    """Weighted sums of the first layer on the examples `rows`: `out [len(rows), outputs]`; feature i has row w[i]."""
    for k in range(len(rows)):
        begin, end = examples.starts[rows[k]], examples.starts[rows[k] + 1]
        for j in range(out.shape[1]):
            out[k, j] = 0
        add_rows(w, examples.features[begin:end], examples.values[begin:end], end - begin, out[k])
