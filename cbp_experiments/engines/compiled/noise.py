"""The perturbation of SnP compiled (learners/perturbation.py), only on the rows that are read.

Every update shrinks a weight w by g and then adds N(0, std^2). A row that is not read for k updates needs neither at
once: its accumulated noise is one Gaussian of variance std^2 (1 + g^2 + ... + g^2(k-1)), drawn when the row is next
read. Memory holds w / scale, so an update's variance is std^2 / scale^2 there, and the sum is a difference of running
totals. The weights that are read have the same joint distribution as if all had been perturbed at every update (not the
same values); the decay is exact. If every weight is needed at every update (needs.py), every update settles all rows.
"""

from typing import NamedTuple

import numpy as np

from cbp_experiments.compiling import compiles_in, inlined
from cbp_experiments.engines.compiled.hooks import after_update, before_reading, before_rescaling, settle
from cbp_experiments.engines.compiled.layers import matrix
from cbp_experiments.engines.compiled.needs import all_weights_at_every_update
from cbp_experiments.engines.compiled.normals import LANES, draw_normals, new_generators
from cbp_experiments.engines.compiled.structures import Network, Parts, RunArrays
from cbp_experiments.learners import Learner, Perturbation

NORMALS = 2048  # drawn in one call for several narrow rows: fewer would cost more calls, more would leave the cache


@compiles_in(0.7)
class NoiseArrays(NamedTuple):
    """The variance that a row still owes is `variance - settled[layer, row]`."""

    std: float
    variance: np.ndarray  # float64 [1]: of all draws so far, in units of the weights in memory
    settled: np.ndarray  # float64 [L, largest stride]
    generators: np.ndarray  # uint32 (normals.new_generators)
    normals: np.ndarray  # float32: work space, for one row at least
    at_once: bool  # all rows are settled after every update

    def begin_task(self, key: int) -> None:
        self.generators[:] = new_generators(np.random.default_rng(key))

    def state(self, within_task: bool) -> dict[str, np.ndarray]:
        kept = ("variance", "settled", "generators") if within_task else ()
        return {f"task_noise_{name}": getattr(self, name) for name in kept}


def build(perturbation: Perturbation, learner: Learner, network: Network) -> NoiseArrays:
    return NoiseArrays(
        std=perturbation.perturbation_std,
        variance=np.zeros(1),
        settled=np.zeros((len(network.starts), max(network.strides))),
        generators=np.zeros(4 * LANES, np.uint32),
        normals=np.zeros(max(*network.strides[1:], NORMALS), np.float32),
        at_once=all_weights_at_every_update(learner),
    )


@after_update.of(NoiseArrays)
@inlined
def gather_noise(noise: NoiseArrays, run: RunArrays, parts: Parts) -> None:
    """Add one draw to what every weight owes, after an update and its decay; perturb biases and gains at once."""
    network = run.network
    noise.variance[0] += (noise.std / network.scale[0]) ** 2
    for layer in range(len(network.starts)):
        draw_normals(noise.normals[: network.strides[layer + 1]], noise.generators)
        for j in range(network.sizes[layer + 1]):
            network.biases[layer, j] += noise.std * noise.normals[j]
    for layer in range(len(network.gains)):
        draw_normals(noise.normals[: network.strides[layer + 1]], noise.generators)
        for j in range(network.sizes[layer + 1]):
            network.gains[layer, j] += noise.std * noise.normals[j]
    if noise.at_once:
        settle_all(noise, run, parts)


@before_reading.of(NoiseArrays)
@inlined
def settle_rows(noise: NoiseArrays, run: RunArrays, layer: int, rows: np.ndarray, count: int) -> None:
    """Draw the noise that the rows owe, for as many rows at once as fit into `normals`."""
    if noise.variance[0] > 0:
        n = run.network.strides[layer + 1]
        room = len(noise.normals) // n
        for begin in range(0, count, room):
            end = min(begin + room, count)
            draw_normals(noise.normals[: (end - begin) * n], noise.generators)
            for q in range(begin, end):
                settle_row(noise, run, layer, rows[q], noise.normals[(q - begin) * n :])


@settle.of(NoiseArrays)
@inlined
def settle_all(noise: NoiseArrays, run: RunArrays, parts: Parts) -> None:
    """Draw the noise that all rows owe and restart the totals, so that a checkpoint needs no record of them."""
    network = run.network
    for layer in range(len(network.starts)):
        for row in range(network.sizes[layer]):
            draw_normals(noise.normals[: network.strides[layer + 1]], noise.generators)
            settle_row(noise, run, layer, row, noise.normals)
            noise.settled[layer, row] = 0
    noise.variance[0] = 0


@inlined
def settle_row(noise: NoiseArrays, run: RunArrays, layer: int, row: int, normals: np.ndarray) -> None:
    network = run.network
    owed = noise.variance[0] - noise.settled[layer, row]
    w, std = matrix(network, layer), network.weights.dtype.type(np.sqrt(owed))
    for j in range(network.sizes[layer + 1]):  # the padding stays 0
        w[row, j] += std * normals[j]
    noise.settled[layer, row] = noise.variance[0]


@before_rescaling.of(NoiseArrays)
@inlined
def rescale_totals(noise: NoiseArrays, run: RunArrays) -> None:
    noise.variance[0] *= run.network.scale[0] ** 2
    for layer in range(noise.settled.shape[0]):
        for row in range(noise.settled.shape[1]):
            noise.settled[layer, row] *= run.network.scale[0] ** 2
