"""One run's training loop at mini-batch 1, compiled: the same step as learners/step.py, without what is zero.

The gradient of one example is an outer product, and the rows of inputs that are 0 have no part in it: not in the forward
pass, not in the backward pass, not in the update. MNIST pixels are 81 % zeros and ReLU units about half; skipping their
rows changes no result. Back-propagation and update share one pass over each row (rows.py).
"""

from typing import NamedTuple

import numpy as np

from cbp_experiments.engines.rows import add_rows, backward_rows, backward_rows_tracked, inlined, jit, update_rows

RELU, LEAKY_RELU, ELU, SWISH, TANH, SIGMOID = range(6)
ADAPTABLE_CONTRIBUTION, CONTRIBUTION, ADAPTATION, WEIGHT, RANDOM = range(5)
RESUM_EVERY = 1000  # updates between fresh sums of |w|: bounds the rounding that running sums gather


class Network(NamedTuple):
    """L layers; layer l maps `sizes[l]` to `sizes[l + 1]` units, its weights lie at `weights[starts[l]:]`."""

    sizes: np.ndarray  # int64 [L + 1], units
    strides: np.ndarray  # int64 [L + 1], units padded to whole vector registers
    starts: np.ndarray  # int64 [L]
    weights: np.ndarray  # float [sum of strides[l] * strides[l + 1]]
    biases: np.ndarray  # float [L, largest stride]
    activation: int


class Examples(NamedTuple):
    """Inputs without their zeros: example e has the values `values[starts[e]:starts[e + 1]]` at `features[...]`."""

    starts: np.ndarray  # int64 [N + 1]
    features: np.ndarray  # int32
    values: np.ndarray  # float
    labels: np.ndarray  # int64 [N]


class Replacement(NamedTuple):
    """Unit replacement (learners/replacement.py): hyperparameters, and the state of hidden layer l in row l."""

    rate: float  # 0: the learner replaces nothing, and nothing below is touched
    maturity_threshold: int
    utility_kind: int
    decay: np.ndarray  # float [2]: eta, 1 - eta
    bounds: np.ndarray  # float64 [L]
    utility: np.ndarray  # float [hidden layers, largest stride]
    mean_activation: np.ndarray
    correction: np.ndarray  # 1 - eta^age, as the moving average of 1
    age: np.ndarray  # int64, likewise
    to_replace: np.ndarray  # float64 [hidden layers]
    incoming: np.ndarray  # float [L, largest stride]: sum of |w| over the inputs of each unit of layer l
    outgoing: np.ndarray  # float [L, largest stride]: sum of |w| over the outputs of each input of layer l


class Scratch(NamedTuple):
    """Work space of one run, by layer: activations and slopes, steps (step size x gradient), and the active inputs."""

    h: np.ndarray  # float [L + 1, largest stride]
    slope: np.ndarray
    step: np.ndarray
    rows: np.ndarray  # int64 [L, largest stride]: inputs that are not 0
    x: np.ndarray  # float, their values
    count: np.ndarray  # int64 [L]
    back: np.ndarray  # float [largest stride]


@jit
def learn(network, examples, replacement, scratch, order, position, step_size, rng, losses, hits, events):
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
def forward(network, examples, scratch, example, position):
    """Activations of one example in `scratch.h`, and for each layer the inputs that are not 0."""
    count = 0
    for p in range(examples.starts[example], examples.starts[example + 1]):
        scratch.rows[0, count] = position[examples.features[p]]
        scratch.x[0, count] = examples.values[p]
        count += 1
    scratch.count[0] = count
    layers = len(network.starts)
    for layer in range(layers):
        n, h = network.strides[layer + 1], scratch.h[layer + 1]
        for j in range(n):
            h[j] = network.biases[layer, j]
        add_rows(matrix(network, layer), scratch.rows[layer], scratch.x[layer], scratch.count[layer], h)
        if layer + 1 < layers:
            activate(network, scratch, layer + 1)


@inlined
def matrix(network, layer):
    """The padded weights of a layer, `[in, out]`."""
    rows, columns = network.strides[layer], network.strides[layer + 1]
    start = network.starts[layer]
    return network.weights[start : start + rows * columns].reshape(rows, columns)


@inlined
def activate(network, scratch, layer):
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
    scratch.count[layer] = count


@jit
def activation_and_slope(kind, z):
    one = z * 0 + 1
    if kind == LEAKY_RELU:
        slope = one if z > 0 else one * np.float32(0.01)
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
def softmax_step(network, scratch, label, step_size):
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
def update_layer(network, replacement, scratch, layer):
    """Update layer `layer` by `scratch.step[layer + 1]` and leave the step of the layer below in `scratch.step[layer]`."""
    w, n = matrix(network, layer), network.strides[layer + 1]
    rows, x, count = scratch.rows[layer], scratch.x[layer], scratch.count[layer]
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


@inlined
def sum_magnitudes(network, replacement):
    """Sums of |w| of all rows (outgoing) and columns (incoming), afresh."""
    for layer in range(len(network.starts)):
        n, start = network.strides[layer + 1], network.starts[layer]
        incoming = replacement.incoming[layer]
        for j in range(n):
            incoming[j] = 0
        for i in range(network.sizes[layer]):
            row = network.weights[start + i * n : start + (i + 1) * n]
            for j in range(n):
                incoming[j] += abs(row[j])
            total = row[0] * 0
            for j in range(n):
                total += abs(row[j])
            replacement.outgoing[layer, i] = total


@inlined
def track_utility(network, replacement, scratch, layer):
    """Age, mean activation f and utility u of the units of a hidden layer (paper.md: steps 1-4 of Algorithm 1)."""
    n, kind, h = network.sizes[layer + 1], replacement.utility_kind, scratch.h[layer + 1]
    age, f, u = replacement.age[layer], replacement.mean_activation[layer], replacement.utility[layer]
    incoming, outgoing = replacement.incoming[layer], replacement.outgoing[layer + 1]
    correction, decay, rest = replacement.correction[layer], replacement.decay[0], replacement.decay[1]
    from_in = h.dtype.type(1 / network.sizes[layer])  # from sums of |w| to means
    from_out = h.dtype.type(1 / network.sizes[layer + 2])
    for i in range(n):
        age[i] += 1
    for i in range(n):
        correction[i] = decay * correction[i] + rest
        f[i] = decay * f[i] + rest * h[i]
    if kind == ADAPTABLE_CONTRIBUTION:
        for i in range(n):
            centred = abs(h[i] - f[i] / correction[i])
            u[i] = decay * u[i] + rest * (centred * (outgoing[i] * from_out) / (incoming[i] * from_in))
    elif kind == CONTRIBUTION:
        for i in range(n):
            u[i] = decay * u[i] + rest * (abs(h[i]) * (outgoing[i] * from_out))
    elif kind == ADAPTATION:
        for i in range(n):
            u[i] = decay * u[i] + rest / (incoming[i] * from_in)
    else:
        for i in range(n):
            u[i] = decay * u[i] + rest * (outgoing[i] * from_out)


@inlined
def replace_units(network, replacement, scratch, layer, rng, t, events, replaced):
    """Replace what is due in a hidden layer, the least useful mature units first. Returns the new count of events."""
    n, age = network.sizes[layer + 1], replacement.age[layer]
    mature = 0
    for i in range(n):
        mature += age[i] > replacement.maturity_threshold
    replacement.to_replace[layer] += replacement.rate * mature
    due = int(replacement.to_replace[layer])
    if due == 0:
        return replaced
    replacement.to_replace[layer] -= due
    ranking = scratch.back  # free between updates
    for i in range(n):
        if replacement.utility_kind == RANDOM:
            ranking[i] = rng.random()
        else:
            ranking[i] = replacement.utility[layer, i] / replacement.correction[layer, i]
        if age[i] <= replacement.maturity_threshold:
            ranking[i] = np.inf
    for _ in range(min(due, mature)):
        unit = np.argmin(ranking[:n])
        ranking[unit] = np.inf
        renew_unit(network, replacement, layer, unit, rng)
        if replaced < len(events):
            events[replaced, 0], events[replaced, 1], events[replaced, 2] = t, layer, unit
        replaced += 1
    return replaced


@inlined
def renew_unit(network, replacement, layer, unit, rng):
    """Fresh incoming weights, bias and outgoing weights 0, and the sums of |w| that follow from it."""
    n, start, bound = network.strides[layer + 1], network.starts[layer], replacement.bounds[layer]
    replacement.incoming[layer, unit] = 0
    for i in range(network.sizes[layer]):
        at = start + i * n + unit
        before = abs(network.weights[at])
        network.weights[at] = -bound + 2 * bound * rng.random()
        replacement.outgoing[layer, i] += abs(network.weights[at]) - before
        replacement.incoming[layer, unit] += abs(network.weights[at])
    network.biases[layer, unit] = 0
    n, start = network.strides[layer + 2], network.starts[layer + 1]
    for j in range(n):
        at = start + unit * n + j
        replacement.incoming[layer + 1, j] -= abs(network.weights[at])
        network.weights[at] = 0
    replacement.outgoing[layer + 1, unit] = 0
    replacement.utility[layer, unit] = 0
    replacement.mean_activation[layer, unit] = 0
    replacement.correction[layer, unit] = 0
    replacement.age[layer, unit] = 0


@jit
def features(network, examples, scratch, rows, position, out):
    """Activations of the examples `rows` in `out [hidden layers, len(rows), width]`, without learning."""
    for k in range(len(rows)):
        forward(network, examples, scratch, rows[k], position)
        for layer in range(len(network.starts) - 1):
            for i in range(network.sizes[layer + 1]):
                out[layer, k, i] = scratch.h[layer + 1, i]
