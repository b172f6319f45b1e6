"""One run's training loop at mini-batch 1, compiled: the same step as learners/step.py, without what is zero.

The gradient of one example is an outer product, and the rows of inputs that are 0 have no part in it: not in the
forward pass, not in the backward pass, not in the update. MNIST pixels are 81 % zeros and ReLU units about half;
skipping their rows changes no result. Back-propagation and update share one pass over each row (rows.py).
"""

from typing import Any

import numpy as np

from cbp_experiments.engines.compiling import inlined, jit
from cbp_experiments.engines.replacing import RESUM_EVERY, replace_units, sum_magnitudes, track_utility
from cbp_experiments.engines.rows import add_rows, backward_rows, backward_rows_tracked, update_rows
from cbp_experiments.engines.structures import (
    ELU,
    LEAKY_RELU,
    RELU,
    SWISH,
    TANH,
    Examples,
    Network,
    Replacement,
    Scratch,
)


@jit
def learn(
    network: Network,
    examples: Examples,
    replacement: Replacement,
    scratch: Scratch,
    order: np.ndarray,
    position: np.ndarray,
    step_size: float,
    rng: np.random.Generator,
    losses: np.ndarray,
    hits: np.ndarray,
    events: np.ndarray,
) -> int:
    """One update for each example `order[t]`, whose feature i is the network's input `position[i]`.

    Fills `losses[t]` and `hits[t]` by the predictions before the update, and `events` with the rows (t, layer, unit)
    of the replacements, as far as it has room. Returns the number of updates made, fewer than asked for if a loss is
    not finite.
    """
    layers = len(network.starts)
    replaced = 0
    for t in range(len(order)):
        if replacement.rate > 0 and t % RESUM_EVERY == 0:
            sum_magnitudes(network, replacement)
        example = order[t]
        forward(network, examples, scratch, example, position)
        losses[t], hits[t] = softmax_step(network, scratch, examples.labels[example], step_size)
        if not np.isfinite(losses[t]):
            return t
        for layer in range(layers - 1, -1, -1):
            update_layer(network, replacement, scratch, layer)
        if replacement.rate > 0:
            for layer in range(layers - 1):
                track_utility(network, replacement, scratch, layer)
            for layer in range(layers - 1):
                replaced = replace_units(network, replacement, scratch, layer, rng, t, events, replaced)
    return len(order)


@inlined
def forward(network: Network, examples: Examples, scratch: Scratch, example: int, position: np.ndarray) -> None:
    """Activations of one example in `scratch.h`, and for each layer the inputs that are not 0."""
    count = 0
    for p in range(examples.starts[example], examples.starts[example + 1]):
        scratch.rows[0, count] = position[examples.features[p]]
        scratch.x[0, count] = examples.values[p]
        count += 1
    scratch.active[0] = count
    layers = len(network.starts)
    for layer in range(layers):
        n, h = network.strides[layer + 1], scratch.h[layer + 1]
        for j in range(n):
            h[j] = network.biases[layer, j]
        add_rows(matrix(network, layer), scratch.rows[layer], scratch.x[layer], scratch.active[layer], h)
        if layer + 1 < layers:
            activate(network, scratch, layer + 1)


@inlined
def matrix(network: Network, layer: int) -> np.ndarray:
    """The padded weights of a layer, `[in, out]`."""
    rows, columns = network.strides[layer], network.strides[layer + 1]
    start = network.starts[layer]
    return network.weights[start : start + rows * columns].reshape(rows, columns)


@inlined
def activate(network: Network, scratch: Scratch, layer: int) -> None:
    """Turn the sums in `scratch.h[layer]` into activations; list those that the next layer has to read."""
    h, slope, rows, x = scratch.h[layer], scratch.slope[layer], scratch.rows[layer], scratch.x[layer]
    n = network.sizes[layer]
    count = 0
    if network.activation == RELU:
        for i in range(n):
            h[i] = h[i] if h[i] > 0 else h[i] * 0  # a not-a-number stays one
        for i in range(n):
            value = h[i]
            rows[count], x[count] = i, value  # no branch: an inactive unit's entry is overwritten by the next
            count += value != 0
    else:
        for i in range(n):
            h[i], slope[i] = activation_and_slope(network.activation, h[i])
            rows[count], x[count] = i, h[i]
            count += h[i] != 0 or slope[i] != 0
    scratch.active[layer] = count


@jit
def activation_and_slope(kind: int, z: Any) -> tuple[Any, Any]:
    one = z * 0 + 1
    if kind == LEAKY_RELU:
        slope = one if z > 0 else one * 0.01
        return z * slope, slope
    if kind == ELU:
        h = z if z > 0 else np.expm1(z)
        return h, (one if z > 0 else h + one)
    if kind == TANH:
        h = np.tanh(z)
        return h, one - h * h
    s = one / (one + np.exp(-z))
    if kind == SWISH:
        return z * s, s + z * s * (one - s)
    return s, s * (one - s)


@inlined
def softmax_step(network: Network, scratch: Scratch, label: int, step_size: float) -> tuple[Any, bool]:
    """Cross-entropy of the logits and whether they are right; the last layer's step_size x gradient in scratch.step."""
    last = len(network.starts)
    logits, step, classes = scratch.h[last], scratch.step[last], network.sizes[last]
    best = 0
    for k in range(1, classes):
        if logits[k] > logits[best]:
            best = k
    total = logits[0] * 0
    for k in range(classes):
        step[k] = np.exp(logits[k] - logits[best])
        total += step[k]
    loss = np.log(total) - (logits[label] - logits[best])
    for k in range(classes):
        step[k] = step_size * (step[k] / total)
    step[label] -= step_size
    return loss, best == label


@inlined
def update_layer(network: Network, replacement: Replacement, scratch: Scratch, layer: int) -> None:
    """Update a layer by the step of its outputs, and leave that of its inputs in `scratch.step[layer]`."""
    w, n = matrix(network, layer), network.strides[layer + 1]
    rows, x, count = scratch.rows[layer], scratch.x[layer], scratch.active[layer]
    step, back = scratch.step[layer + 1], scratch.back
    for j in range(n):
        network.biases[layer, j] -= step[j]
    if replacement.rate > 0:
        outgoing, incoming = replacement.outgoing[layer], replacement.incoming[layer]
        backward_rows_tracked(w, rows, x, count, step, back, outgoing, incoming)
    elif layer > 0:
        backward_rows(w, rows, x, count, step, back)
    else:
        update_rows(w, rows, x, count, step)
    if layer > 0:
        below, slope = scratch.step[layer], scratch.slope[layer]
        for i in range(network.sizes[layer]):
            below[i] = 0
        if network.activation == RELU:  # active units have slope 1
            for q in range(count):
                below[rows[q]] = back[q]
        else:
            for q in range(count):
                below[rows[q]] = back[q] * slope[rows[q]]


@jit
def features(
    network: Network, examples: Examples, scratch: Scratch, rows: np.ndarray, position: np.ndarray, out: np.ndarray
) -> None:
    """Activations of the examples `rows` in `out [hidden layers, len(rows), width]`, without learning."""
    for k in range(len(rows)):
        forward(network, examples, scratch, rows[k], position)
        for layer in range(len(network.starts) - 1):
            for i in range(network.sizes[layer + 1]):
                out[layer, k, i] = scratch.h[layer + 1, i]
