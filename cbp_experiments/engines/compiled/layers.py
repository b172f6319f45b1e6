"""What the compiled optimizers share: a layer's weights as a matrix, and the step that it passes back."""

from typing import Any

import numpy as np

from cbp_experiments.compiling import inlined
from cbp_experiments.engines.compiled.structures import Network, Scratch


@inlined
def matrix(network: Network, layer: int) -> np.ndarray:
    """The padded weights of a layer, `[in, out]`."""
    rows, columns = network.strides[layer], network.strides[layer + 1]
    start = network.starts[layer]
    return network.weights[start : start + rows * columns].reshape(rows, columns)


@inlined
def pass_back(network: Network, scratch: Scratch, layer: int, factor: Any) -> None:
    """The step of a hidden layer from what came back to its active units: `factor` x back x slope."""
    below, slope, back, rows = scratch.step[layer], scratch.slope[layer], scratch.back, scratch.rows[layer]
    for i in range(network.sizes[layer]):
        below[i] = 0
    for q in range(scratch.active[layer]):
        below[rows[q]] = factor * back[q] * slope[rows[q]]
