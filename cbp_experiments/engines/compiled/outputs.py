"""The losses of streams.objectives compiled: the loss of one example, and the step of the output layer."""

from typing import Any

import numpy as np
from numba.extending import overload

from cbp_experiments.compiling import inlined
from cbp_experiments.engines.compiled.structures import RunArrays


@inlined
def softmax_step(run: RunArrays, labels: np.ndarray, example: int, step_size: float) -> tuple[Any, bool]:
    """Cross-entropy of the logits and whether they are right; writes step_size x gradient to the last scratch.step."""
    last = len(run.network.starts)
    logits, step, classes = run.scratch.h[last], run.scratch.step[last], run.network.sizes[last]
    label, best = labels[example], 0
    for k in range(1, classes):
        if logits[k] > logits[best]:
            best = k
    total = 0.0  # float64: a small loss is the logarithm of nearly 1
    for k in range(classes):
        step[k] = np.exp(logits[k] - logits[best])
        total += step[k]
    loss = np.log(total) - (logits[label] - logits[best])
    for k in range(classes):
        step[k] = step_size * (step[k] / total)
    step[label] -= step_size
    return loss, best == label


@inlined
def squared_step(run: RunArrays, targets: np.ndarray, example: int, step_size: float) -> tuple[Any, bool]:
    """Squared error, a mean over outputs, and False; writes step_size x gradient to the last scratch.step."""
    last = len(run.network.starts)
    outputs, step, n = run.scratch.h[last], run.scratch.step[last], run.network.sizes[last]
    loss = 0.0
    for k in range(n):
        error = outputs[k] - targets[example, k]
        loss += error * error / n
        step[k] = step_size * (2 * error / n)
    return loss, False


def output_step(run: RunArrays, labels: np.ndarray, example: int, step_size: float) -> tuple[Any, bool]:
    """Cross-entropy for labels `[N]`, squared error for targets `[N, outputs]`."""
    kind = softmax_step if labels.ndim == 1 else squared_step
    return kind(run, labels, example, step_size)


@overload(output_step, inline="always")
def _output_step(run, labels, example, step_size):  # type: ignore[no-untyped-def]  # types, named as below
    """The same for numba's types: only one of the two is compiled."""
    kind = softmax_step if labels.ndim == 1 else squared_step
    return lambda run, labels, example, step_size: kind(run, labels, example, step_size)
