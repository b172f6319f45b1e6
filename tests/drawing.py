"""What a learner draws, one by one in Python's integers: what the engines' draws are held against."""

import numpy as np

from cbp_experiments.seeding import GOLDEN, mixed, purpose_key, update_key


def words(key: int, update: int, purpose: str, index: int, count: int) -> list[int]:
    """The first words of a purpose at an update (from 1) of the task with this key."""
    begin = update_key(key, update) + purpose_key(purpose, index)
    return [mixed(begin + i * GOLDEN) for i in range(count)]


def uniform(key: int, update: int, purpose: str, index: int, count: int) -> np.ndarray:
    """The same as numbers in [0, 1)."""
    return np.array([(word >> 11) / 2**53 for word in words(key, update, purpose, index, count)])
