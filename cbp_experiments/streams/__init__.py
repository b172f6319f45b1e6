"""Streams: what a learner sees, one file per stream."""

from cbp_experiments.streams.base import Examples, Stream, Task, examples_of, lengths, updates_of
from cbp_experiments.streams.objectives import CROSS_ENTROPY, SQUARED, Objective

__all__ = [
    "CROSS_ENTROPY",
    "SQUARED",
    "Examples",
    "Objective",
    "Stream",
    "Task",
    "examples_of",
    "lengths",
    "updates_of",
]
