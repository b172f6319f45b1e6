"""learners/draws.py compiled for one run: number i for a purpose at an update."""

import numpy as np

from cbp_experiments import seeding
from cbp_experiments.compiling import inlined
from cbp_experiments.engines.compiled.structures import DrawKeys, Network

u64 = np.uint64
GOLDEN = u64(seeding.GOLDEN)
FACTOR1, FACTOR2 = map(u64, seeding.FACTORS)
SHIFT1, SHIFT2, SHIFT3 = map(u64, seeding.SHIFTS)


def purpose_keys(purpose: str, network: Network) -> np.ndarray:
    """uint64 [hidden layers]: the keys of a purpose's draws in each layer."""
    return np.array([seeding.purpose_key(purpose, layer) for layer in range(len(network.starts) - 1)], np.uint64)


@inlined
def next_update(draws: DrawKeys, update: int) -> None:
    """Advance to an update, counted from 1 in its task; call it before drawing anything."""
    draws.now[0] = mixed(draws.task[0] + u64(update) * GOLDEN)


@inlined
def uniform(draws: DrawKeys, purpose: np.uint64, i: int) -> float:
    """Draw from [0, 1): a multiple of 2^-53."""
    return np.float64(uniform_bits(draws, purpose, i)) * 2.0**-53


@inlined
def uniform_bits(draws: DrawKeys, purpose: np.uint64, i: int) -> np.uint64:
    """`uniform` times 2^53, as an integer."""
    return mixed(draws.now[0] + purpose + u64(i) * GOLDEN) >> u64(11)


@inlined
def mixed(word: np.uint64) -> np.uint64:
    """seeding.mixed, compiled."""
    word = (word ^ (word >> SHIFT1)) * FACTOR1
    word = (word ^ (word >> SHIFT2)) * FACTOR2
    return word ^ (word >> SHIFT3)
