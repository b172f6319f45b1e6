"""Random generators keyed by (seed, purpose, index), so that nothing depends on a run's place in a batch."""

from zlib import crc32

import numpy as np


def generator(seed: int, purpose: str, index: int) -> np.random.Generator:
    """The generator of one purpose ("permutation", "order", "weights", "replacement", ...) of a run.

    `index` is the task (or the layer, for initial weights). Equal keys give equal streams on every engine and for
    every learner, which is what pairs the learners of one seed. The key always has three parts: SeedSequence pads
    short keys with zeros, so keys of different lengths could collide.
    """
    return np.random.default_rng(np.random.SeedSequence([seed, crc32(purpose.encode()), index]))
