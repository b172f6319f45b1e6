"""The perturbation of SnP compiled (learners/perturbation.py), on the rows that are read and no others.

Every weight w takes N(0, std^2) after every update and is shrunk by g at every update. A row that nobody reads for k
updates needs neither: what it has gathered is one Gaussian of variance std^2 (1 + g^2 + ... + g^2(k-1)), drawn when it
is next read. In memory lies w / scale, so that the variance of an update is std^2 / scale^2 and the sum a difference of
running totals. The weights that are read have the same joint distribution as if all had been perturbed at every update
(not the same values); the decay is exact. Adam and unit replacement ask for every weight at every update, and all rows
are settled then.
"""

import numpy as np

from cbp_experiments.compiling import inlined
from cbp_experiments.engines.compiled.layers import matrix
from cbp_experiments.engines.compiled.normals import draw_normals
from cbp_experiments.engines.compiled.structures import Network, Noise, Normalization


@inlined
def gather_noise(network: Network, normalization: Normalization | None, noise: Noise) -> None:
    """After an update and its decay: every weight owes one more draw; biases and gains take theirs."""
    noise.variance[0] += (noise.std / network.scale[0]) ** 2
    for layer in range(len(network.starts)):
        draw_normals(noise.normals[: network.strides[layer + 1]], noise.generators)
        for j in range(network.sizes[layer + 1]):
            network.biases[layer, j] += noise.std * noise.normals[j]
    if normalization is not None:
        for layer in range(normalization.gain.shape[0]):
            draw_normals(noise.normals[: network.strides[layer + 1]], noise.generators)
            for j in range(network.sizes[layer + 1]):
                normalization.gain[layer, j] += noise.std * noise.normals[j]


@inlined
def settle_rows(network: Network, noise: Noise, layer: int, rows: np.ndarray, count: int) -> None:
    """Draw what the rows `rows[:count]` of a layer owe, for as many at once as there is room."""
    if noise.variance[0] > 0:
        n = network.strides[layer + 1]
        room = len(noise.normals) // n
        for begin in range(0, count, room):
            end = min(begin + room, count)
            draw_normals(noise.normals[: (end - begin) * n], noise.generators)
            for q in range(begin, end):
                settle_row(network, noise, layer, rows[q], noise.normals[(q - begin) * n :])


@inlined
def settle_all(network: Network, noise: Noise) -> None:
    """Draw what all rows owe, and begin the totals anew: nothing is left that a checkpoint would have to keep."""
    for layer in range(len(network.starts)):
        for row in range(network.sizes[layer]):
            draw_normals(noise.normals[: network.strides[layer + 1]], noise.generators)
            settle_row(network, noise, layer, row, noise.normals)
            noise.settled[layer, row] = 0
    noise.variance[0] = 0


@inlined
def settle_row(network: Network, noise: Noise, layer: int, row: int, normals: np.ndarray) -> None:
    owed = noise.variance[0] - noise.settled[layer, row]
    w, std = matrix(network, layer), network.weights.dtype.type(np.sqrt(owed))
    for j in range(network.sizes[layer + 1]):  # the padding stays 0
        w[row, j] += std * normals[j]
    noise.settled[layer, row] = noise.variance[0]
