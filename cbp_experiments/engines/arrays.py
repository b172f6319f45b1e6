"""Makes the arrays of one run on the online engine, for its network and the learner's parts."""

from importlib import import_module
from itertools import pairwise

import numpy as np

from cbp_experiments.engines.abilities import HALVES
from cbp_experiments.engines.base import Problem
from cbp_experiments.engines.compiled import hooks, magnitudes, structures
from cbp_experiments.engines.compiled.needs import keeps_magnitudes, uses_magnitudes
from cbp_experiments.learners import Learner, Part
from cbp_experiments.streams import CROSS_ENTROPY

LANE = 16  # a row is padded to a multiple of this many weights, one AVX-512 register in float32


def sparse_examples(problem: Problem) -> structures.SparseExamples:
    """The stream's images without their zeros, shared by all runs."""
    stream, dtype = problem.stream, np.dtype(problem.options.dtype)
    rows, features = np.nonzero(stream.images)
    values = stream.images[rows, features].astype(dtype) * dtype.type(stream.scale)
    starts = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(stream.images)))])
    labels = stream.labels
    if problem.objective != CROSS_ENTROPY:
        labels = labels.astype(dtype).reshape(len(labels), -1)
    return structures.SparseExamples(starts, features.astype(np.int32), values, labels)


def network(
    sizes: list[int], bounds: list[float], activation: str, dtype: np.dtype, gains: bool = False
) -> structures.Network:
    strides = [-(-size // LANE) * LANE for size in sizes]
    lengths = [a * b for a, b in pairwise(strides)]
    return structures.Network(
        sizes=np.array(sizes),
        strides=np.array(strides),
        starts=np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64),
        weights=_zeros_in_lines(sum(lengths), dtype),
        scale=np.ones(1),
        biases=np.zeros((len(lengths), max(strides)), dtype),
        gains=np.ones((len(lengths) - 1 if gains else 0, max(strides)), dtype),
        bounds=np.array(bounds),
        activation=structures.ACTIVATIONS.index(activation),
    )


def _zeros_in_lines(length: int, dtype: np.dtype) -> np.ndarray:
    """Zeros aligned to a cache line, so that each row is, too. (np.empty asks for huge pages, np.zeros does not.)"""
    room = np.empty(length + 64 // dtype.itemsize, dtype)
    room[:] = 0
    begin = -room.ctypes.data % 64 // dtype.itemsize
    return room[begin : begin + length]


def run(network: structures.Network) -> structures.RunArrays:
    return structures.RunArrays(network, _scratch(network), _draws())


def parts(learner: Learner, network: structures.Network) -> structures.Parts:
    """Build the arrays of the learner's parts, by the table in abilities.py."""

    def build(part: Part) -> structures.PartArrays | None:
        module = HALVES[type(part)].module
        if module is None:
            return None
        half = import_module(f"{structures.__package__}.{module}")
        return half.build(part, learner, network)

    mechanisms = [build(part) for part in learner.mechanisms]
    optimizer, normalization = build(learner.chosen_optimizer), learner.chosen_normalization
    sums = magnitudes.build(network, running=keeps_magnitudes(learner)) if uses_magnitudes(learner) else None
    return structures.Parts(
        optimizer=optimizer,
        normalization=build(normalization) if normalization else None,
        magnitudes=sums,
        mechanisms=tuple(part for part in mechanisms if part is not None),
        waiting=any(type(part) in hooks.before_reading.functions for part in (optimizer, *mechanisms)),
    )


def _draws() -> structures.DrawKeys:
    return structures.DrawKeys(np.zeros(1, np.uint64), np.zeros(1, np.uint64), np.zeros(0), np.zeros(1, np.int64))


def _scratch(network: structures.Network) -> structures.Scratch:
    dtype, widest, layers = network.weights.dtype, max(network.strides), len(network.starts)
    return structures.Scratch(
        h=np.zeros((layers + 1, widest), dtype),
        slope=np.zeros((layers + 1, widest), dtype),
        step=np.zeros((layers + 1, widest), dtype),
        rows=np.zeros((layers, widest), np.int64),
        x=np.zeros((layers, widest), dtype),
        active=np.zeros(layers, np.int64),
        back=np.zeros(widest, dtype),
        shift=np.zeros(widest, dtype),
    )
