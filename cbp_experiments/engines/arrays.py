"""The arrays of one run on the online engine, as the learner and the network ask for them."""

from itertools import pairwise

import numpy as np

from cbp_experiments.engines.base import Problem
from cbp_experiments.engines.compiled import structures
from cbp_experiments.engines.compiled.adam import SMALLEST, ages, powers, updates_to_fade
from cbp_experiments.engines.compiled.normals import LANES
from cbp_experiments.engines.compiled.replacing import RESUM_EVERY
from cbp_experiments.learners import Learner
from cbp_experiments.seeding import purpose_key
from cbp_experiments.streams import CROSS_ENTROPY

CHUNK = 10 * RESUM_EVERY  # the most updates of a call of the kernel
NORMALS = 2048  # drawn at once, if that many rows are narrow enough: a call has its price, and a cache its size
LANE = 16  # a row is padded to a multiple of this many weights, one AVX-512 register in float32


def sparse_examples(problem: Problem) -> structures.Examples:
    """The stream's images without their zeros, shared by all runs."""
    stream, dtype = problem.stream, np.dtype(problem.options.dtype)
    rows, features = np.nonzero(stream.images)
    values = stream.images[rows, features].astype(dtype) * dtype.type(stream.scale)
    starts = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(stream.images)))])
    labels = stream.labels
    if problem.objective != CROSS_ENTROPY:
        labels = labels.astype(dtype).reshape(len(labels), -1)
    return structures.Examples(starts, features.astype(np.int32), values, labels)


def network(sizes: list[int], activation: int, dtype: np.dtype) -> structures.Network:
    strides = [-(-size // LANE) * LANE for size in sizes]
    lengths = [a * b for a, b in pairwise(strides)]
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
    weights = _zeros_in_lines(sum(lengths), dtype)
    biases = np.zeros((len(lengths), max(strides)), dtype)
    return structures.Network(np.array(sizes), np.array(strides), starts, weights, np.ones(1), biases, activation)


def _zeros_in_lines(length: int, dtype: np.dtype) -> np.ndarray:
    """Zeros that begin with a cache line, so that each row does. (np.empty asks for huge pages, np.zeros does not.)"""
    room = np.empty(length + 64 // dtype.itemsize, dtype)
    room[:] = 0
    begin = -room.ctypes.data % 64 // dtype.itemsize
    return room[begin : begin + length]


def update(learner: Learner, dtype: np.dtype) -> structures.Update:
    adam = learner.optimizer == "adam"  # whose weight decay is part of the gradient
    shrink = 1.0 if adam else 1 - learner.step_size * learner.weight_decay
    return structures.Update(dtype.type(learner.step_size), shrink, learner.dropout)


def normalization(learner: Learner, network: structures.Network) -> structures.Normalization:
    on, dtype, a = learner.normalization == "online", network.weights.dtype, learner.normalization_decay
    layers, widest = len(network.starts) - 1 if on else 0, max(network.strides) if on else 0
    moments = layers if learner.optimizer == "adam" else 0

    def full(value: float, rows: int = layers) -> np.ndarray:
        return np.full((rows, widest), value, dtype)

    return structures.Normalization(
        on=on,
        reset=learner.reset_normalization,
        decay=np.array([a, 1 - a, a * (1 - a)], dtype),
        constants=np.array([1 - learner.normalization_backward_decay, learner.normalization_epsilon], dtype),
        gain=full(1),
        mean=full(0),
        variance=full(1),
        error_y=full(0),
        error_1=full(0),
        first=full(0, moments),
        root=full(0, moments),
        y=full(0),
        inverse=full(0),
        shift_step=np.zeros(widest, dtype),
        gain_step=np.zeros(widest, dtype),
    )


def noise(learner: Learner, network: structures.Network) -> structures.Noise:
    widest, outputs = max(network.strides), max(network.strides[1:])
    return structures.Noise(
        std=learner.perturbation_std,
        variance=np.zeros(1),
        settled=np.zeros((len(network.starts), widest)),
        generators=np.zeros(4 * LANES, np.uint32),
        normals=np.zeros(max(outputs, NORMALS), np.float32),
    )


def adam(learner: Learner, network: structures.Network) -> structures.Adam:
    on, dtype = learner.optimizer == "adam", network.weights.dtype
    widest, layers = max(network.strides), len(network.starts)
    fade = updates_to_fade(learner.beta1, learner.beta2, dtype, most=CHUNK)

    def zeros(*shape: int) -> np.ndarray:
        return np.zeros(shape if on else [0] * len(shape), dtype)

    corrections = (layers + 1, widest) if learner.replacement_rate else (1, 1)
    eager = on and bool(learner.replacement_rate or learner.weight_decay)
    summed = on and not eager and fade < CHUNK and dtype == np.float32
    return structures.Adam(
        on=on,
        eager=eager,
        fade=CHUNK if learner.weight_decay else fade,  # whose gradient is never 0
        betas=np.array([learner.beta1, 1 - learner.beta1, learner.beta2, 1 - learner.beta2], dtype),
        constants=np.array([learner.epsilon, learner.weight_decay, SMALLEST], dtype),
        paired=not eager and learner.epsilon > SMALLEST**0.5,
        powers=powers(learner.beta1, learner.beta2, dtype, most=CHUNK),
        first=zeros(len(network.weights)),
        root=zeros(len(network.weights)),
        first_bias=zeros(layers, widest),
        root_bias=zeros(layers, widest),
        correction1=zeros(*corrections),
        correction2=zeros(*corrections),
        inverse1=zeros(layers + 1, widest),
        inverse2=zeros(layers + 1, widest),
        updates=np.zeros(1, np.int64),
        last=np.zeros((layers, widest), np.int64),
        rates=zeros(CHUNK),
        bends=zeros(CHUNK),
        sums=np.zeros((5, CHUNK if summed else 0)),
        ages=ages(learner.beta1, learner.beta2, fade if summed else 0),
        parts=np.zeros(fade if summed else 0),
        negligible=np.finfo(dtype).eps / 2 - 1e-14,
        moved=zeros(widest),
    )


def replacement(learner: Learner, network: structures.Network, bounds: list[float]) -> structures.Replacement:
    dtype, widest, layers = network.weights.dtype, max(network.strides), len(network.starts)
    if learner.replacement_rate == 0:
        widest = layers = 0
    eta = learner.decay_rate
    hidden = (max(layers - 1, 0), widest)
    return structures.Replacement(
        rate=learner.replacement_rate,
        maturity_threshold=learner.maturity_threshold,
        utility_kind=structures.UTILITIES.index(learner.utility),
        decay=np.array([eta, 1 - eta], dtype),
        bounds=np.array(bounds),
        utility=np.zeros(hidden, dtype),
        mean_activation=np.zeros(hidden, dtype),
        correction=np.zeros(hidden, dtype),
        age=np.zeros(hidden, np.int64),
        to_replace=np.zeros(hidden[0]),
        incoming=np.zeros((layers, widest), dtype),
        outgoing=np.zeros((layers, widest), dtype),
        replaced=np.zeros(1, np.int64),
    )


def draws(network: structures.Network) -> structures.Draws:
    def of(purpose: str) -> np.ndarray:
        keys = [purpose_key(purpose, layer) for layer in range(len(network.starts) - 1)]
        return np.array(keys, np.uint64)

    return structures.Draws(
        task=np.zeros(1, np.uint64),
        now=np.zeros(1, np.uint64),
        dropout=of("dropout"),
        ranking=of("ranking"),
        replacement=of("replacement"),
        given=np.zeros(0),
        taken=np.zeros(1, np.int64),
    )


def scratch(network: structures.Network) -> structures.Scratch:
    dtype, widest, layers = network.weights.dtype, max(network.strides), len(network.starts)
    return structures.Scratch(
        h=np.zeros((layers + 1, widest), dtype),
        slope=np.zeros((layers + 1, widest), dtype),
        step=np.zeros((layers + 1, widest), dtype),
        rows=np.zeros((layers, widest), np.int64),
        x=np.zeros((layers, widest), dtype),
        active=np.zeros(layers, np.int64),
        back=np.zeros(widest, dtype),
    )
