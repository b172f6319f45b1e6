"""Random numbers keyed by what they are for, so that nothing depends on a run's place in a batch.

Streams and initial weights draw from numpy's generators (`generator`). What a learner draws at every update is
counter-based: number i of a purpose at an update is a function of (seed, task, update, purpose, i). The online engine
and the ensemble engine compute it alike, on a CPU or a GPU (learners/draws.py, engines/compiled/draws.py).
"""

from zlib import crc32

import numpy as np

# SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators"): word i of the stream that
# begins at k is mixed(k + i GOLDEN), modulo 2^64.
GOLDEN, FACTORS, SHIFTS = 0x9E3779B97F4A7C15, (0xBF58476D1CE4E5B9, 0x94D049BB133111EB), (30, 27, 31)
WORD = 2**64 - 1


def generator(seed: int, purpose: str, index: int) -> np.random.Generator:
    """Return the generator of one purpose ("permutation", "order", "weights", ...) of a run.

    index: the task (or the layer, for initial weights). Equal keys give equal streams on every engine and for every
    learner, which pairs the learners of one seed. The key always has three parts: SeedSequence pads short keys with
    zeros, so keys of different lengths could collide.
    """
    return np.random.default_rng(np.random.SeedSequence([seed, crc32(purpose.encode()), index]))


def task_key(seed: int, task: int) -> int:
    """Return the key of all draws of a learner during a task, below 2^64."""
    return int(np.random.SeedSequence([seed, crc32(b"learner"), task]).generate_state(1, np.uint64)[0])


def update_key(key: int, update: int) -> int:
    """Return the key of an update, counted from 1, in the task whose `task_key` is `key`."""
    return mixed(key + update * GOLDEN)


def purpose_key(purpose: str, index: int) -> int:
    """Return what a purpose adds to the key of an update. index: the layer, for example."""
    return mixed((crc32(purpose.encode()) << 32) + index)


def mixed(word: int) -> int:
    """SplitMix64's output function."""
    word &= WORD
    for shift, factor in zip(SHIFTS, (*FACTORS, 1), strict=True):
        word = (word ^ (word >> shift)) * factor & WORD
    return word
