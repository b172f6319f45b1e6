"""The perturbation of SnP compiled (learners/perturbation.py), on the rows that are read and no others.

Every weight w takes N(0, std^2) after every update and is shrunk by g at every update. A row that nobody reads for k
updates needs neither: what it has gathered is one Gaussian of variance std^2 (1 + g^2 + ... + g^2(k-1)), drawn when it
is next read. In memory lies w / scale, so that the variance of an update is std^2 / scale^2 and the sum a difference of
running totals. The weights that are read have the same joint distribution as if all had been perturbed at every update
(not the same values); the decay is exact. Adam and unit replacement ask for every weight at every update, and all rows
are settled then.
"""

import numpy as np

from cbp_experiments.engines.compiled.compiling import inlined, jit
from cbp_experiments.engines.compiled.layers import matrix
from cbp_experiments.engines.compiled.structures import Network, Noise, Normalization

f32, i32, u32, i64, u64 = np.float32, np.int32, np.uint32, np.int64, np.uint64


@inlined
def gather_noise(network: Network, normalization: Normalization | None, noise: Noise) -> None:
    """After an update and its decay: every weight owes one more draw; biases and gains take theirs."""
    noise.variance[0] += (noise.std / network.scale[0]) ** 2
    for layer in range(len(network.starts)):
        draw_normals(noise.normals[: network.strides[layer + 1]], noise.bits, noise.counter)
        for j in range(network.sizes[layer + 1]):
            network.biases[layer, j] += noise.std * noise.normals[j]
    if normalization is not None:
        for layer in range(normalization.gain.shape[0]):
            draw_normals(noise.normals[: network.strides[layer + 1]], noise.bits, noise.counter)
            for j in range(network.sizes[layer + 1]):
                normalization.gain[layer, j] += noise.std * noise.normals[j]


@inlined
def settle_rows(network: Network, noise: Noise, layer: int, rows: np.ndarray, count: int) -> None:
    """Draw what the rows `rows[:count]` of a layer owe."""
    for q in range(count):
        settle_row(network, noise, layer, rows[q])


@inlined
def settle_all(network: Network, noise: Noise) -> None:
    """Draw what all rows owe, and begin the totals anew: nothing is left that a checkpoint would have to keep."""
    for layer in range(len(network.starts)):
        for row in range(network.sizes[layer]):
            settle_row(network, noise, layer, row)
            noise.settled[layer, row] = 0
    noise.variance[0] = 0


@inlined
def settle_row(network: Network, noise: Noise, layer: int, row: int) -> None:
    owed = noise.variance[0] - noise.settled[layer, row]
    if owed > 0:
        w, std = matrix(network, layer), network.weights.dtype.type(np.sqrt(owed))
        draw_normals(noise.normals[: network.strides[layer + 1]], noise.bits, noise.counter)
        for j in range(network.sizes[layer + 1]):  # the padding stays 0
            w[row, j] += std * noise.normals[j]
        noise.settled[layer, row] = noise.variance[0]


@jit
def draw_normals(normals: np.ndarray, bits: np.ndarray, counter: np.ndarray) -> None:
    """Fill `normals` (float32, of even length) by Box and Muller 1958, from the 64-bit words of splitmix64.

    Half a nanosecond each: a counter instead of a state, and polynomials instead of library calls, make vectors.
    """
    half = len(normals) // 2
    start = counter[0]
    counter[0] += u64(half)
    for j in range(half):
        z = (start + u64(j)) * u64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> u64(30))) * u64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> u64(27))) * u64(0x94D049BB133111EB)
        bits[j] = z ^ (z >> u64(31))
    for j in range(half):
        uniform = f32(i64(bits[j] >> u64(32)) + 1) * f32(2.0**-32)  # in (0, 1]
        radius = np.sqrt(max(f32(-2) * log(uniform), f32(0)))
        angle = f32(i32(u32(bits[j] & u64(0xFFFFFFFF)))) * f32(np.pi * 2.0**-32)  # half of it, in +-pi/2
        s, c = sine_and_cosine(angle)
        normals[j] = radius * (f32(2) * s * c)
        normals[half + j] = radius * (c * c - s * s)


@inlined
def log(x: np.float32) -> np.float32:
    """Natural logarithm in float32, the minimax polynomial of Cephes' logf (Moshier) on [sqrt(1/2), sqrt(2)]."""
    word = np.float32(x).view(np.int32)
    exponent = (word - i32(0x3F3504F3)) >> i32(23)
    m = np.int32(word - (exponent << i32(23))).view(np.float32) - f32(1)
    p = f32(7.0376836292e-2)
    p = p * m - f32(1.1514610310e-1)
    p = p * m + f32(1.1676998740e-1)
    p = p * m - f32(1.2420140846e-1)
    p = p * m + f32(1.4249322787e-1)
    p = p * m - f32(1.6668057665e-1)
    p = p * m + f32(2.0000714765e-1)
    p = p * m - f32(2.4999993993e-1)
    p = p * m + f32(3.3333331174e-1)
    return p * m * m * m - f32(0.5) * m * m + m + f32(exponent) * f32(0.69314718056)


@inlined
def sine_and_cosine(x: np.float32) -> tuple[np.float32, np.float32]:
    """Taylor polynomials of degrees 11 and 12, for |x| <= pi/2: errors below 6e-8."""
    y = x * x
    s = f32(-1 / 39916800)
    s = s * y + f32(1 / 362880)
    s = s * y - f32(1 / 5040)
    s = s * y + f32(1 / 120)
    s = s * y - f32(1 / 6)
    c = f32(1 / 479001600)
    c = c * y - f32(1 / 3628800)
    c = c * y + f32(1 / 40320)
    c = c * y - f32(1 / 720)
    c = c * y + f32(1 / 24)
    c = c * y - f32(1 / 2)
    return x + x * y * s, f32(1) + y * c
