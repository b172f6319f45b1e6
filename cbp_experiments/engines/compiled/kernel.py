"""The compiled training loop of one run at mini-batch 1: the step of learners/step.py, without terms that are 0.

The gradient of one example is an outer product, and the rows of inputs that are 0 take no part in it: not in the
forward pass, not in the backward pass, not in the update. 81 % of MNIST's pixels are 0, and so are about half of the
ReLU units; skipping their rows changes no result. Backpropagation and update share one pass over each row (rows.py).
"""

import numpy as np

from cbp_experiments.compiling import announced, inlined, jit
from cbp_experiments.engines.compiled import hooks
from cbp_experiments.engines.compiled.activations import activate
from cbp_experiments.engines.compiled.draws import next_update
from cbp_experiments.engines.compiled.layers import matrix
from cbp_experiments.engines.compiled.outputs import output_step
from cbp_experiments.engines.compiled.rows import add_rows
from cbp_experiments.engines.compiled.structures import RESUM_EVERY, Parts, RunArrays, SparseExamples, TaskArrays

FRESH = 2**15  # weights that are brought up to date and then read while they are in a cache


@announced(seconds=4.6)
def learn(
    run: RunArrays, parts: Parts, examples: SparseExamples, task: TaskArrays, begin: int, end: int, settle: bool
) -> int:
    """Make one update for each example `task.order[t]`, t from `begin` to `end`.

    Fills `task.losses[t]` and `hits[t]` from the predictions before the update. Returns the t that it has reached: less
    than `end` if a loss is not finite.

    `settle`: finish deferred work (noise, idle rows of Adam, the scale of the weights), so that the weights can be
    read. It changes the rounding, so it happens only at fixed t, however the updates are cut into calls.
    """
    for t in range(begin, end):
        if t % RESUM_EVERY == 0:
            hooks.sum_magnitudes(parts.magnitudes, run)
        next_update(run.draws, t + 1)
        example = task.order[t]
        forward(run, parts, examples, example, task.position)
        factor = hooks.step_factor(parts.optimizer, run)
        task.losses[t], task.hits[t] = output_step(run, examples.labels, example, factor)
        if not np.isfinite(task.losses[t]):
            end = t
            break
        hooks.begin_step(parts.optimizer, run)
        for layer in range(len(run.network.starts) - 1, -1, -1):
            hooks.turn_step(parts.normalization, run, layer)
            hooks.update_layer(parts.optimizer, run, parts, layer)
        hooks.end_step(parts.optimizer, run, parts)
        hooks.after_update(parts.mechanisms, run, parts)
        hooks.between_updates(parts.mechanisms, run, parts, t, task.events)
    if settle:
        hooks.settle(parts.mechanisms, run, parts)
        hooks.settle(parts.optimizer, run, parts)
    return end


@inlined
def forward(run: RunArrays, parts: Parts, examples: SparseExamples, example: int, position: np.ndarray) -> None:
    """Compute the activations of one example in `scratch.h` and list the inputs of each layer that are not 0."""
    network, scratch, layers = run.network, run.scratch, len(run.network.starts)
    count = 0
    for p in range(examples.starts[example], examples.starts[example + 1]):
        scratch.rows[0, count] = position[examples.features[p]]
        scratch.x[0, count] = examples.values[p]
        count += 1
    scratch.active[0] = count
    for layer in range(layers):
        n, h = network.strides[layer + 1], scratch.h[layer + 1]
        for j in range(n):
            h[j] = 0
        together = max(FRESH // n // 8 * 8, 8) if parts.waiting else scratch.active[layer] + 1
        for q in range(0, scratch.active[layer], together):
            rows, x, count = scratch.rows[layer, q:], scratch.x[layer, q:], min(together, scratch.active[layer] - q)
            hooks.before_reading(parts.mechanisms, run, layer, rows, count)
            hooks.before_reading(parts.optimizer, run, layer, rows, count)
            add_rows(matrix(network, layer), rows, x, count, h)
        hooks.normalize(parts.normalization, run, layer)
        if layer + 1 < layers:
            activate(run, layer + 1)
            hooks.activations(parts.mechanisms, run, layer)


@jit
def first_sums(w: np.ndarray, examples: SparseExamples, rows: np.ndarray, out: np.ndarray) -> None:
    """Weighted sums of the first layer on the examples `rows`: `out [len(rows), outputs]`; w[i] is feature i's row."""
    for k in range(len(rows)):
        begin, end = examples.starts[rows[k]], examples.starts[rows[k] + 1]
        for j in range(out.shape[1]):
            out[k, j] = 0
        add_rows(w, examples.features[begin:end], examples.values[begin:end], end - begin, out[k])
